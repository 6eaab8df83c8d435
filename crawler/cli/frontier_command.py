"""`crawler frontier …`: the jobs that lie on a Redis or Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from crawler.cli.formatting import amount, counted, duration, plain, size
from crawler.config.model import FrontierConfig
from crawler.errors import ConfigError

if TYPE_CHECKING:
    from crawler.frontier.redis.redis_client import RedisClient

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

PATIENCE: Final = 5.0  # seconds; a person is waiting


@click.group(short_help="Jobs on a Redis: list, pause, retry, remove.")
def frontier() -> None:
    """Look after the jobs that lie on a Redis or Valkey (see docs/scale.md)."""


def _place(command: F) -> F:
    return click.option(
        "--frontier", "url", required=True, envvar="CRAWLER_FRONTIER_URL", metavar="URL",
        help="redis://host:port/0, rediss:// or unix://.",
    )(command)  # fmt: skip


def _job(command: F) -> F:
    return click.option("--job", default="crawl", metavar="NAME", help="The job.  [crawl]")(
        _place(command)
    )


@frontier.command(short_help="Jobs, workers, memory, and what is not in order.")
@_place
def jobs(url: str) -> None:
    """What lies there: jobs, workers, memory, and what is not as it should be."""
    from crawler.frontier.redis.redis_jobs import look, names_on  # noqa: PLC0415 - not for `--help`

    async def show(wire: RedisClient) -> None:
        for health in await wire.health():
            most = f" of {size(health.most)}" if health.most else ""
            click.echo(
                f"{wire.name}: version {health.version}, {size(health.used)}{most} in use, "
                f"{counted(wire.shards, 'shard')}"
            )
            for trouble in health.troubles:
                click.echo(f"  warning: {trouble}")
        for name in sorted(await names_on(wire)):
            job = await look(wire, name)
            stats = job.stats
            click.echo(
                f"{plain(name, 60)}: {amount(stats.done)} done, "
                f"{amount(stats.queued + stats.resting)} queued, {amount(stats.leased)} on lease, "
                f"{amount(stats.failed)} failed, {amount(stats.refused)} refused, "
                f"{counted(stats.hosts, 'host')}; {amount(stats.expired)} leases ran out, "
                f"{amount(stats.fenced)} late results refused"
            )
            for one in job.workers:
                click.echo(
                    f"  {plain(one.name, 60)}: {one.leased} on lease, {amount(one.done)} settled, "
                    f"heard of {duration(max(0.0, one.age))} ago"
                )

    _run(url, show)


@frontier.command(short_help="Lease nothing more to a job's workers.")
@_job
def pause(url: str, job: str) -> None:
    """Lease nothing more to the job's workers; what they have in hand is finished."""
    _run(url, lambda wire: _paused(wire, job, on=True))


@frontier.command(short_help="End a pause.")
@_job
def go(url: str, job: str) -> None:
    """End a pause."""
    _run(url, lambda wire: _paused(wire, job, on=False))


@frontier.command(short_help="Queue a job's failed links again.")
@click.argument("reason", default="")
@_job
def retry(reason: str, url: str, job: str) -> None:
    """Queue the job's failed links again, those whose reason has REASON in it."""

    async def queue(wire: RedisClient) -> None:
        await _known(wire, job)
        number = 0
        for shard in range(wire.shards):
            number += await wire.call("retry", shard, job, reason)
        click.echo(f"{counted(number, 'link')} queued")

    _run(url, queue)


@frontier.command(short_help="Remove a job.")
@_job
def remove(url: str, job: str) -> None:
    """Remove the job. What its workers wrote stays with them."""
    from crawler.frontier.redis.redis_jobs import remove as forget  # noqa: PLC0415

    async def away(wire: RedisClient) -> None:
        await _known(wire, job)
        await forget(wire, job)
        click.echo(f"{plain(job, 60)}: removed")

    _run(url, away)


@frontier.command("import", short_help="Move a stopped crawl to many machines.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@_job
def import_(folder: Path, url: str, job: str) -> None:
    """Move the stopped crawl in DIR there, so that it goes on on many machines.

    Its queue becomes the job, all that it knew of hosts included. DIR keeps what was fetched so
    far, and is one of the folders that `crawler merge` is given in the end.
    """
    from crawler.cli.config_sources import saved  # noqa: PLC0415 - not for `--help`
    from crawler.config.loader import dump_toml  # noqa: PLC0415
    from crawler.config.redaction import without_secrets  # noqa: PLC0415
    from crawler.config.workdir import FRONTIER  # noqa: PLC0415
    from crawler.frontier.migrate.to_redis import moved_in  # noqa: PLC0415

    config = dump_toml(without_secrets(saved(folder).config()))

    async def move(wire: RedisClient) -> None:
        number = await moved_in(wire, job, folder / FRONTIER, config)
        click.echo(
            f"{amount(number.seen)} URLs moved, {amount(number.queued)} of them queued; go on "
            f"with: crawler worker --frontier {wire.name} --job {job}"
        )

    _run(url, move)


@frontier.command("export", short_help="Move a job back to one machine.")
@click.argument("out", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("folders", metavar="WORKER...", nargs=-1, required=True)
@_job
def export_(out: Path, folders: tuple[str, ...], url: str, job: str) -> None:
    """Move the job into DIR, so that it goes on on one machine: `crawler resume DIR`.

    WORKER are the folders of all its workers (or folders of such folders): their records say what
    is finished, and DIR/pages.jsonl has each once. The job is paused, and stays until it is
    removed; its workers have to be stopped.
    """
    from crawler.export.rebuild_local import rebuild_local  # noqa: PLC0415 - not for `--help`

    async def move(wire: RedisClient) -> None:
        number = await rebuild_local(wire, job, out, folders)
        click.echo(
            f"{amount(number.finished)} finished URLs and {amount(number.waiting)} that wait are "
            f"in {out}; go on with: crawler resume {out}\n"
            f"what lies on {wire.name} is paused: crawler frontier remove --job {job} when done"
        )

    _run(url, move)


async def _paused(wire: RedisClient, job: str, *, on: bool) -> None:
    await _known(wire, job)
    for shard in range(wire.shards):
        await wire.call("pause", shard, job, int(on))
    click.echo(f"{plain(job, 60)}: {'paused' if on else 'goes on'}")


async def _known(wire: RedisClient, job: str) -> None:
    from crawler.frontier.redis.redis_jobs import names_on  # noqa: PLC0415

    if job not in await names_on(wire):
        raise ConfigError(f"{wire.name}: has no job {job!r}")


def _run(url: str, work: Callable[[RedisClient], Awaitable[T]]) -> T:
    try:
        from crawler.frontier.redis.redis_jobs import wire_to  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise ConfigError(f"--frontier needs {error.name}: pip install crawler[redis]") from error

    async def connected() -> T:
        async with wire_to(FrontierConfig(url=url, patience=PATIENCE)) as wire:
            return await work(wire)

    return asyncio.run(connected())
