"""Format a service job as text: its start, its state in one line, its progress to the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import click

from crawler.cli.exits import Exit
from crawler.cli.formatting import amount, counted, plain, size
from crawler.cli.service_client import ServiceClient
from crawler.config.loader import Settings

ENDS: Final = frozenset({"finished", "failed", "cancelled"})


def asked(settings: Settings) -> dict[str, Any]:
    """Only what was said: what was not is the service's to decide."""
    from crawler.config.loader import as_tree  # noqa: PLC0415 - one name, used here

    tree = as_tree(settings.config())
    body: dict[str, Any] = {}
    for key in settings.origins:
        section, _, name = key.rpartition(".")
        source = tree.get(section, {}) if section else tree
        if name in source:
            (body.setdefault(section, {}) if section else body)[name] = source[name]
    return body


def job_options(command: Any) -> Any:
    """--name, --webhook, --key and --watch for a command that starts a job; see `posted`."""
    for option in (
        click.option("--watch", is_flag=True, help="Watch it to its end."),
        click.option("--key", metavar="WORD", help="The same word again makes no second job."),
        click.option("--webhook", "hooks", multiple=True, metavar="URL",
                     help="Told of every change."),
        click.option("--name", help="What you call it.  [the first host]"),
    ):  # fmt: skip
        command = option(command)
    return command


def posted(api: ServiceClient, body: dict[str, Any], values: Mapping[str, Any]) -> Exit:
    """Start a job as `job_options` say, print its id and, if asked to, watch it."""
    hooks = [{"url": url} for url in values["hooks"]]
    body["job"] = {"name": values["name"] or "", "webhooks": hooks}
    headers = {"Idempotency-Key": values["key"]} if values["key"] else None
    with api.open("POST", "/jobs", body, headers) as answer:
        job = json.load(answer)["id"]
    click.echo(job)
    return watched(api, job) if values["watch"] else Exit.OK


def watched(api: ServiceClient, job: str) -> Exit:
    """Say what a job does until it ends; then how."""
    for kind, found in api.events(job):
        if kind == "live":
            live, totals = found["live"], found["totals"]
            if (now := found["download"]) is not None:
                click.echo(
                    f"{counted(totals['files'], 'file')}, {size(now['rate'])}/s, "
                    f"{amount(totals['queued'])} to do, {amount(totals['failed'])} failed, "
                    f"{size(totals['bytes_wire'])}",
                    err=True,
                )
            elif live is not None:
                click.echo(
                    f"{counted(totals['pages'], 'page')}, {live['recent_per_second']}/s, "
                    f"{amount(live['queued'])} queued, {size(totals['bytes_wire'])}",
                    err=True,
                )
        elif kind == "state":
            click.echo(f"{found['state']} {plain(found['reason'])}".rstrip(), err=True)
            if found["state"] in ENDS and api.ask("GET", f"/jobs/{job}")["state"] in ENDS:
                return {"finished": Exit.OK, "cancelled": Exit.INTERRUPTED}.get(
                    found["state"], Exit.SERVER
                )
    return Exit.INTERRUPTED  # the service is going down; the job goes on when it is back


def line(job: dict[str, Any]) -> str:
    """A job in a list of them."""
    totals = job["totals"]
    unit = "files" if job["kind"] == "download" else "pages"
    return (
        f"{job['id']}  {job['state']:10} {amount(totals[unit]):>8} {unit} "
        f"{size(totals['bytes_wire']):>9}  {plain(job['name'], 60)}"
        f"{'  ' + plain(job['reason'], 80) if job['reason'] else ''}"
    )
