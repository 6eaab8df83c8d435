"""`crawler bench`: asyncio, threads and processes on the same crawl, measured on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crawler.cli.exits import Exit
from crawler.errors import ConfigError

if TYPE_CHECKING:
    from crawler.bench.results import BenchResults


@click.command("bench", short_help="Measure asyncio, threads and processes on one crawl.")
@click.option("--quick", "size", flag_value="quick", default=True, help="Two minutes.  [default]")
@click.option("--full", "size", flag_value="full", help="Every axis and the peers: about an hour.")
@click.option("--peers", is_flag=True, help="Race other crawlers (`make peers` installs some).")
@click.option("--against", multiple=True, metavar="NAME", help="Race only this one; repeat.")
@click.option("--workload", "workloads", multiple=True, metavar="NAME", help="Only this; repeat.")
@click.option("--variants", default="", metavar="LIST", help="Only these: threads,asyncio …")
@click.option("--concurrency", default="", metavar="LIST", help="Connections: 1,64,256 …")
@click.option("--rounds", type=click.IntRange(1, 1000), help="Runs of each, interleaved.")
@click.option(
    "--scale",
    type=click.FloatRange(0.01, 100),
    default=1.0,
    metavar="X",
    help="Webs of X times as many pages.",
)
@click.option("-O", "--out", type=click.Path(path_type=Path), help="Write JSON, HTML and charts.")
@click.option("--json", "as_json", is_flag=True, help="The results as JSON on stdout.")
@click.option("-q", "--silent", is_flag=True, help="No progress.")
@click.option("--list", "listing", is_flag=True, help="Show workloads and variants, and exit.")
def bench(
    *,
    size: str,
    peers: bool,
    against: tuple[str, ...],
    workloads: tuple[str, ...],
    variants: str,
    concurrency: str,
    rounds: int | None,
    scale: float,
    out: Path | None,
    as_json: bool,
    silent: bool,
    listing: bool,
) -> Exit:
    """Crawl the same sites in several ways, check that all brought home the same, and compare.

    Runs are interleaved; figures are medians with their spread, and a difference within the noise
    is called one.
    """
    try:
        from crawler.bench import plan, report_writer  # noqa: PLC0415
        from crawler.bench.sites import unavailable_reason  # noqa: PLC0415
        from crawler.bench.whole import run_plan  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"crawler bench needs {error.name}: pip install 'crawler[bench]'"
        ) from error
    if listing:
        _list()
        return Exit.OK
    whole = (
        plan.full(docs=unavailable_reason("postgresql") is None) if size == "full" else plan.quick()
    )
    chosen = plan.narrowed(
        whole,
        workloads=workloads,
        variants=_names(variants),
        concurrency=_numbers(concurrency),
        rounds=rounds,
        scale=scale,
    )
    if peers or against:
        chosen = plan.with_peers(
            chosen,
            only=not (variants or size == "full"),
            workloads=workloads,
            concurrency=_numbers(concurrency),
            against=against,
        )
    command = " ".join(["crawler", *sys.argv[1:]])
    with _Progress(len(chosen.cells) * chosen.rounds, silent=silent or as_json) as progress:
        results = run_plan(chosen, command=command, progress=progress.tell)
    if as_json:
        import msgspec  # noqa: PLC0415

        click.echo(msgspec.json.encode(results))
    else:
        _show(results)
    if out is not None:
        files = report_writer.write(results, out)
        click.echo(f"{out}: {len(files)} files, the page is {out / 'index.html'}", err=True)
    return Exit.OK


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in _names(text))
    except ValueError as error:
        raise ConfigError(f"--concurrency: {text!r} is not a list of numbers") from error
    if any(not 1 <= number <= 10_000 for number in numbers):
        raise ConfigError(f"--concurrency: {text!r}: from 1 to 10000")
    return numbers


def _list() -> None:
    from crawler.bench.plan import WORKLOADS  # noqa: PLC0415
    from crawler.bench.variants import VARIANTS  # noqa: PLC0415

    click.echo("Workloads:")
    for workload in WORKLOADS.values():
        click.echo(f"  {workload.name:16} {workload.title}")
    click.echo("Variants:")
    for variant in VARIANTS.values():
        click.echo(f"  {variant.name:16} {variant.title}")


def _show(results: BenchResults) -> None:
    """Tables that fit eighty columns, then the verdict."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from crawler.bench.report_writer import brief, facts, warn  # noqa: PLC0415

    console = Console(highlight=False)
    console.print(facts(results), style="dim", markup=False)
    for line in warn(results):
        console.print(line, style="yellow", markup=False)
    for title, head, body in brief(results):
        table = Table(
            title=title,
            title_justify="left",
            title_style="bold",
            box=None,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        for at, name in enumerate(head):
            table.add_column(name, justify="right" if at else "left", no_wrap=True)
        for cells in body:
            table.add_row(*cells, style="bold" if cells[0].startswith("crawler") else None)
        console.print()
        console.print(table)
    console.print()
    for line in results.verdicts:
        console.print(f"• {line}", markup=False)


class _Progress:
    """A line on stderr that says what runs and how long it will still take."""

    def __init__(self, steps: int, *, silent: bool) -> None:
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self._bar = Progress(
            BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=console, transient=True, disable=silent or not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=steps)
        self._first = True

    def tell(self, what: str) -> None:
        self._bar.update(self._task, description=what, advance=0 if self._first else 1)
        self._first = False

    def __enter__(self) -> _Progress:  # noqa: PYI034 - Self would need an import for nothing
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
