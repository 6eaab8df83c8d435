"""Writes the results down: results.json, index.html, index.md, and each chart as a file.

`python -m crawler.bench.report_writer DIR` writes them again from results.json: new looks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

import msgspec

from crawler.bench.charts import STYLE, alone, number
from crawler.bench.crawl_task import OWN
from crawler.bench.figures import charts
from crawler.bench.findings import FindingRow, Spread
from crawler.bench.plan import WORKLOADS
from crawler.bench.results import BenchResults, PeerRow
from crawler.bench.verdicts import verdicts
from crawler.errors import FatalError

COLUMNS: Final = (
    "variant", "connections", "pages", "pages/s", "MB/s", "CPU s/1000 pages", "loop", "reading",
    "of it kernel", "memory MB", "processes", "threads", "tasks", "waits/page", "preempted/page",
    "fetch ms p50 p95 p99", "loop lag ms p50 p99 max", "site",
)  # fmt: skip
PEERS: Final = (
    "crawler", "version", "found", "twice", "other requests", "pages/s", "CPU s/1000 pages",
    "memory MB", "site",
)  # fmt: skip
PAGE: Final = (
    ":root{color-scheme:light dark}body{font:16px/1.55 system-ui,sans-serif;max-width:960px;"
    "margin:2rem auto;padding:0 1rem;background:var(--chart-paper);color:var(--chart-ink)}"
    "h1{font-size:1.7rem}h2{font-size:1.2rem;margin-top:2.4rem}h3{font-size:1rem}"
    ".small{color:var(--chart-dim);font-size:.9rem}.chart{margin:1.2rem 0}"
    ".warn{border-left:4px solid var(--chart-2);padding:.2rem .8rem}"
    "div.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.8rem;"
    "font-variant-numeric:tabular-nums}th,td{padding:.25rem .5rem;text-align:right;"
    "white-space:nowrap;border-bottom:1px solid var(--chart-grid)}th:first-child,"
    "td:first-child{text-align:left}tr.strong{font-weight:600}"
)


def write(results: BenchResults, folder: Path) -> list[Path]:
    """All files, replaced; the paths. Raises FatalError when the folder cannot be written."""
    drawn = charts(results)
    texts = {
        "results.json": msgspec.json.format(msgspec.json.encode(results), indent=1).decode() + "\n",
        "index.html": page(results, drawn),
        "index.md": markdown(results, drawn),
        **{f"{name}.svg": alone(svg) for name, svg in drawn.items()},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.svg"):
            old.unlink()
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise FatalError(f"{error.filename or folder}: {error.strerror}") from error
    return [folder / name for name in texts]


def read(path: Path) -> BenchResults:
    """Results as they were written."""
    return msgspec.json.decode(path.read_bytes(), type=BenchResults)


def again(folder: Path) -> list[Path]:
    """Everything but the figures made anew."""
    results = read(folder / "results.json")
    sentences = tuple(verdicts(results.rows, results.peers))
    return write(msgspec.structs.replace(results, verdicts=sentences), folder)


def page(results: BenchResults, drawn: dict[str, str]) -> str:
    """One file, no script, nothing loaded."""
    sentences = "".join(f"<li>{escape(line)}</li>" for line in results.verdicts)
    warnings = "".join(f'<p class="warn">{escape(line)}</p>' for line in warn(results))
    tables = "".join(
        f"<h3>{escape(title)}</h3><div class=wide><table><tr>"
        + "".join(f"<th>{escape(name)}</th>" for name in head)
        + "</tr>"
        + "".join(
            f"<tr{' class=strong' if line[0].startswith('crawler') else ''}>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in line)
            + "</tr>"
            for line in body
        )
        + "</table></div>"
        for title, head, body in tables_of(results)
    )
    return (
        "<!doctype html>\n<html lang=en><meta charset=utf-8><title>crawler bench</title>"
        "<meta name=viewport content='width=device-width'>"
        f"<style>{STYLE}{PAGE}</style>\n<h1>Asyncio, threads and processes on the same crawl</h1>"
        f"<p class=small>{escape(facts(results))}</p>{warnings}"
        f"<h2>In words</h2><ul>{sentences}</ul><h2>Charts</h2>{''.join(drawn.values())}"
        f"<h2>All figures</h2><p class=small>{escape(LEGEND)}</p>{tables}</html>\n"
    )


def markdown(results: BenchResults, drawn: dict[str, str]) -> str:
    """The same for those who read the repository."""
    out = ["# Benchmark", "", facts(results), ""]
    out += [f"> **{line}**\n" for line in warn(results)]
    out += ["## In words", "", *(f"- {line}" for line in results.verdicts), "", "## Charts", ""]
    out += [f"![{name}]({name}.svg)\n" for name in drawn]
    out += ["## All figures", "", LEGEND, ""]
    for title, head, body in tables_of(results):
        out += [f"### {title}", "", _line(head), _line(["---"] + ["---:"] * (len(head) - 1))]
        out += [*(_line(line) for line in body), ""]
    return "\n".join(out).rstrip() + "\n"


LEGEND: Final = (
    "Medians; in brackets the least and the most of all rounds. CPU and speed are of the crawl "
    "itself, from the first request to the last record; in the table of crawlers, of the whole "
    "command. “reading” is the CPU that reading pages took (with a pool: all that its processes "
    "used), “loop” all the rest; “of it kernel” is the system's part of both. Memory is the peak "
    "of all processes together, shared pages counted once. “waits” and “preempted” are context "
    "switches. “site” is how much of one core the server used: far from 100 %, it held nobody up."
)


def facts(results: BenchResults) -> str:
    """Where, when and how it was measured."""
    libraries = ", ".join(
        f"{name} {version}" for name, version in results.machine.libraries.items()
    )
    return (
        f"Measured {results.made_at} by `{results.command}` in {results.seconds / 60:.0f} minutes, "
        f"{results.rounds} interleaved rounds, crawler {results.version} ({results.revision}), on "
        f"{results.machine}; {libraries}. Load average before and after: "
        f"{results.load[0]:.1f}, {results.load[1]:.1f}."
    )


def warn(results: BenchResults) -> Iterator[str]:
    """What a reader must know before believing."""
    if results.load[0] > 0.5 * results.machine.cpus:
        yield (
            f"The machine was busy with other work (load {results.load[0]:.1f} on "
            f"{results.machine.cpus} CPUs before the start): absolute figures are too low and "
            "ratios uncertain."
        )
    if results.rounds < 5:
        yield f"Only {results.rounds} rounds: a first look, not a measurement."
    for line in results.skipped:
        yield f"Skipped: {line}."


Table = tuple[str, Sequence[str], list[list[str]]]


def tables_of(results: BenchResults) -> Iterator[Table]:
    """Title, head and lines of each table, as text."""
    places: dict[tuple[str, str], list[FindingRow]] = {}
    for row in results.rows:
        places.setdefault((row.cell.workload, row.cell.parser), []).append(row)
    for (name, parser), rows in places.items():
        read_by = "" if parser == OWN else f", read by {parser}"
        yield WORKLOADS[name].title + read_by, COLUMNS, [_cells(row) for row in rows]
    for place in dict.fromkeys((peer.site, peer.concurrency) for peer in results.peers):
        peers = [peer for peer in results.peers if (peer.site, peer.concurrency) == place]
        title = f"{place[0]}, {place[1]} connections ({peers[0].pages} pages)"
        yield title, PEERS, [_peer(peer) for peer in peers]


def brief(results: BenchResults) -> Iterator[Table]:
    """The same for a terminal: what is read most, a table for each place."""
    head = ("", "pages/s", "from–to", "CPU ms", "reading", "kernel", "MB", "lag ms", "site")
    places: dict[tuple[str, int, str], list[FindingRow]] = {}
    for row in results.rows:
        cell = row.cell
        places.setdefault((cell.workload, cell.concurrency, cell.parser), []).append(row)
    for (name, width, parser), rows in places.items():
        read_by = "" if parser == OWN else f", read by {parser}"
        yield f"{WORKLOADS[name].title}, {width} connections{read_by}", head, [
            [
                row.cell.variant, number(row.rate.median), _range(row.rate),
                number(row.cpu.median), number(row.parse), number(row.system), number(row.memory),
                number(row.lag_ms[1]) if row.lag_ms else "", f"{row.site:.0%}",
            ]
            for row in rows
        ]  # fmt: skip
    peers_head = ("", "found", "twice", "pages/s", "from–to", "CPU ms", "MB", "site")
    for place in dict.fromkeys((peer.site, peer.concurrency) for peer in results.peers):
        yield f"{place[0]}, {place[1]} connections, start-up included", peers_head, [
            [
                peer.name, f"{peer.found}/{peer.pages}", str(peer.twice), number(peer.rate.median),
                _range(peer.rate), number(peer.cpu.median), number(peer.memory),
                f"{peer.site_share:.0%}",
            ]
            for peer in results.peers
            if (peer.site, peer.concurrency) == place
        ]  # fmt: skip


def _range(value: Spread) -> str:
    return f"{number(value.low)}–{number(value.high)}"


def _cells(row: FindingRow) -> list[str]:
    cell = row.cell
    return [
        cell.variant, str(cell.concurrency), str(row.pages), spread(row.rate),
        number(row.megabytes), spread(row.cpu), number(row.loop), number(row.parse),
        number(row.system), number(row.memory), str(row.processes), str(row.threads),
        str(row.tasks) if row.tasks else "", number(row.switches), number(row.preempted),
        _three(row.fetch_ms), _three(row.lag_ms) if row.lag_ms else "", f"{row.site:.0%}",
    ]  # fmt: skip


def _peer(peer: PeerRow) -> list[str]:
    return [
        peer.name, peer.version, f"{peer.found}/{peer.pages}", str(peer.twice), str(peer.other),
        spread(peer.rate), spread(peer.cpu), number(peer.memory), f"{peer.site_share:.0%}",
    ]  # fmt: skip


def spread(value: Spread) -> str:
    """A median with what the rounds ranged over."""
    return f"{number(value.median)} ({number(value.low)}–{number(value.high)})"


def _three(values: tuple[float, float, float]) -> str:
    return " ".join(number(round(value, 1)) for value in values)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    again(Path(sys.argv[1]))
