"""`crawler check`: are a site's links good? The same loop; what is outside is only asked for."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from crawler.cli.config_sources import config_options, merged, with_scheme
from crawler.cli.exits import Exit
from crawler.cli.flags import options
from crawler.config.workdir import FRONTIER
from crawler.errors import ConfigError, FatalError
from crawler.frontier.sqlite.statements import FAILED, MOVED
from crawler.policy.end_message import NO_PAGES, sentence_of

if TYPE_CHECKING:
    from crawler.config.model import Config
    from crawler.config.workdir import Mode
    from crawler.frontier.sqlite.lookup import FrontierReader
    from crawler.report.anchors import Anchors
    from crawler.report.check_formats import CheckResult, PermanentRedirect
    from crawler.report.link_certainty import Certainty

BROKEN = 1
"""The exit code when a link is broken, as CI expects it."""


@click.command(short_help="Check a site's links; exit code 1 when one is broken.")
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "junit"]),
    default="text",
    help="What is written to stdout.  [text]",
)
@click.option("--anchors", is_flag=True, help="Check too that #fragments exist on their pages.")
@click.option("--internal", is_flag=True, help="Do not ask for what is outside the scope.")
@click.option(
    "--accept", metavar="LIST", default="", help="Statuses that are no fault, e.g. 403,429."
)
@click.option("--fresh", is_flag=True, help="Remove the check or crawl that DIR holds.")
@click.option("-q", "--silent", is_flag=True, help="No progress, only the result.")
@click.option("-v", "--verbose", count=True, help="Log visits; twice: everything.")
@click.option("--no-color", is_flag=True, help="No colours.")
@config_options
@options(without=("scope.mime", "output.save", "output.graph", "output.report", "output.text",
                  "parse.plugins", "parse.rules"))  # fmt: skip
def check(
    urls: tuple[str, ...],
    form: str,
    anchors: bool,
    internal: bool,
    accept: str,
    fresh: bool,
    silent: bool,
    verbose: int,
    no_color: bool,
    **values: Any,
) -> int:
    """Read every page in scope and ask for every link on them: are they there?

    Links outside the scope, images, styles and scripts are asked for with HEAD (GET where that is
    refused) and not followed. robots.txt and pace hold as in any crawl. Exit code 1: a link is
    broken; any other but 0: it was stopped, or no page was read. With -O DIR the crawl is kept
    there, with its report.
    """
    statuses = _statuses(accept)
    settings = merged(values, os.environ)
    settings.set("seeds", [with_scheme(url) for url in urls], "command line")
    settings.set("scope.probe", not internal, "check")
    settings.set("parse.anchors", anchors, "check")
    settings.set("output.graph", True, "check")
    kept = values.get("output__dir") is not None
    settings.set("output.jsonl", kept, "check")
    settings.set("output.report", kept, "check")
    from crawler.cli.run_crawl import run  # noqa: PLC0415 - asyncio and rich: not for `--help`
    from crawler.cli.screen import Screen  # noqa: PLC0415
    from crawler.report.anchors import Anchors  # noqa: PLC0415

    screen = Screen(silent=silent or not sys.stderr.isatty(), verbose=verbose, no_color=no_color)
    with ExitStack() as stack:
        if kept:
            folder = Path(settings.config().output.dir)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crawler-")))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FatalError(f"{folder}: {error.strerror}") from error
        mode: Mode = "fresh" if fresh else "new"
        sinks = [stack.enter_context(Anchors(folder / "anchors.db"))] if anchors else []
        code = run(settings.config(), folder, mode, screen, sinks=sinks, summed_up=False)
        checked = _result(settings.config(), folder, statuses, code, sinks)
        _show(checked, folder, form)
    if not checked.sound:
        return BROKEN
    if not checked.pages:
        return int(code) or Exit.SERVER
    return 0 if checked.complete else int(code)


def _statuses(text: str) -> list[int]:
    try:
        return [int(one) for one in text.split(",") if one.strip()]
    except ValueError as error:
        raise ConfigError(f"--accept: {text!r} is not a list of statuses") from error


def _result(
    config: Config, folder: Path, accept: list[int], code: Exit, sinks: list[Anchors]
) -> CheckResult:
    from crawler.frontier.sqlite.lookup import FrontierReader  # noqa: PLC0415
    from crawler.report.broken import broken_links  # noqa: PLC0415
    from crawler.report.check_formats import CheckResult  # noqa: PLC0415
    from crawler.report.frontier_figures import VISITED  # noqa: PLC0415
    from crawler.report.link_certainty import certainty  # noqa: PLC0415

    own = _own(config, folder)

    def told(what: Certainty) -> Callable[[str, str, int | None], bool]:
        return lambda url, reason, status: certainty(url, reason, status, own=own(url)) == what

    with FrontierReader(folder / FRONTIER) as book:
        counts = book.counts()
        _, broken = broken_links(folder, book, accept=accept, matches=told("broken"))
        _, unsure = broken_links(folder, book, accept=accept, matches=told("unsure"))
        return CheckResult(
            pages=counts.pages,
            links=book.one(f"SELECT count(*) FROM link WHERE {VISITED}"),  # noqa: S608 - our own words
            refused=book.one(
                "SELECT count(*) FROM link WHERE reason = 'robotsTxt' OR reason LIKE 'forbidden%' "
                "OR reason LIKE 'robotsUnreachable%'"
            ),
            broken=tuple(broken),
            unsure=tuple(unsure),
            redirects=tuple(_redirects(book)),
            anchors=tuple(one for sink in sinks for one in sink.missing()),
            complete=code not in _EARLY,
            incomplete=counts.incomplete,
            ending="" if counts.pages else sentence_of(NO_PAGES, counts),
        )


def _own(config: Config, folder: Path) -> Callable[[str], bool]:
    """Whether a URL's host belongs to what is checked: a seed's, or where a seed redirects to."""
    from crawler.frontier.sqlite.overview import adopted  # noqa: PLC0415
    from crawler.policy.urls import host_key, registered_domain  # noqa: PLC0415

    hosts = {host_key(url) for url in [*config.seeds, *adopted(folder / FRONTIER)]}
    domains = {registered_domain(host) for host in hosts} if config.scope.scope == "domain" else ()
    return lambda url: host_key(url) in hosts or registered_domain(host_key(url)) in domains


def _redirects(book: FrontierReader) -> Iterator[PermanentRedirect]:
    """Links that are good, and lie elsewhere for good. Not the seeds: nobody links to them."""
    from crawler.report.check_formats import PermanentRedirect  # noqa: PLC0415

    for row in book.rows(_FOR_GOOD, MOVED, FAILED):
        yield PermanentRedirect(*row)


def _show(checked: CheckResult, folder: Path, form: str) -> None:
    from crawler.cli.formatting import harmless  # noqa: PLC0415
    from crawler.cli.screen import out  # noqa: PLC0415
    from crawler.report.check_formats import as_json, as_junit, as_text  # noqa: PLC0415

    if form == "json":
        out(as_json(checked))
    elif form == "junit":
        for line in as_junit(checked, _good(folder, checked)):
            out(line)
    else:
        for line in as_text(checked):
            out(harmless(line))


def _good(folder: Path, checked: CheckResult) -> Iterator[str]:
    """Links that were asked for and are neither broken nor unsure."""
    from crawler.frontier.sqlite.lookup import FrontierReader  # noqa: PLC0415
    from crawler.report.frontier_figures import VISITED  # noqa: PLC0415

    with FrontierReader(folder / FRONTIER) as book:
        told = {one.url for one in [*checked.broken, *checked.unsure]}
        for (url,) in book.rows(f"SELECT url FROM link WHERE {VISITED}"):  # noqa: S608 - our own words
            if url not in told:
                yield url


_FOR_GOOD: Final = (
    "SELECT link.url, end.url, link.status FROM link JOIN link AS end ON end.id = link.target "
    "WHERE link.state = ? AND link.status IN (301, 308) AND link.via IS NOT NULL "
    "AND end.state <> ? ORDER BY link.id"
)

_EARLY = {Exit.INTERRUPTED, Exit.FORCED, Exit.SIZE_LIMIT, Exit.TIME_LIMIT}
"""Ends of a crawl that left links unasked."""
