"""The benchmark: every variant does the same work, is measured whole, and is judged with care."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest
from click.testing import CliRunner
from helpers.places import ROOT

from benchmarks import guard, parse_cost
from benchmarks.guard import Finding, compare
from crawler.bench import plan, report_writer, rounds
from crawler.bench.completeness import FoundPages, check_pages
from crawler.bench.crawl_task import OWN, InnerMeasures, ParserName
from crawler.bench.figures import charts
from crawler.bench.findings import FindingRow, Ratio, Spread, dearer, faster, rows
from crawler.bench.measured_run import PROJECT_ROOT, BenchError, MeasuredRun, metered, run_cell
from crawler.bench.meter import EXIT_TIMEOUT, ProcessCost
from crawler.bench.parsers import PARSERS
from crawler.bench.peers import peer_benchmark
from crawler.bench.peers.peer_programs import PEERS
from crawler.bench.plan import WORKLOADS, BenchCell, BenchPlan
from crawler.bench.recorder import LAG_SAMPLE_S
from crawler.bench.results import BenchResults
from crawler.bench.site_pool import SitePool, certificate
from crawler.bench.variants import VARIANTS
from crawler.bench.verdicts import verdicts
from crawler.cli.main import crawler
from crawler.demo.process import DemoWeb
from crawler.errors import ConfigError

PAGES = 40


@pytest.fixture(scope="module")
def stage() -> Iterator[SitePool]:
    with SitePool() as one:
        yield one


def attempt(stage: SitePool, cell: BenchCell) -> MeasuredRun:
    site = stage.site(cell.workload, cell.pages)
    return run_cell(cell, site, 0, processes=2, python=sys.executable)


@pytest.fixture(scope="module")
def reference(stage: SitePool) -> MeasuredRun:
    return attempt(stage, BenchCell("latency-0", "sequential", 1, pages=PAGES))


# ── the work ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name", [name for name in VARIANTS if name not in {"threads-nogil", "limit"}]
)
def test_a_variant_brings_home_every_page_once(
    stage: SitePool, reference: MeasuredRun, name: str
) -> None:
    """run_cell raises unless the pages are the site's; the digest covers titles and links too."""
    trial = attempt(stage, BenchCell("latency-0", name, 8, pages=PAGES))
    assert trial.pages == reference.pages
    assert trial.pages.number == PAGES
    sitemap = name == "crawler+robots"  # robots.txt names one; it is a visit, but no page
    assert trial.inside.pages == PAGES + sitemap
    assert trial.inside.fetch_ms[0] > 0
    assert 0 <= trial.inside.parse_cpu <= trial.inside.user + trial.inside.system + 0.1
    looked = trial.inside.lag_ms is not None
    assert looked <= VARIANTS[name].loop
    assert looked or not VARIANTS[name].loop or trial.inside.wall < 5 * LAG_SAMPLE_S
    assert trial.cost.user > 0


@pytest.mark.parametrize("workload", ["hosts-200", "tls"])
def test_many_hosts_and_tls_are_the_same_work(stage: SitePool, workload: str) -> None:
    pages = 250 if workload == "hosts-200" else PAGES
    digests = {
        attempt(stage, BenchCell(workload, name, 16, pages=pages)).pages.digest
        for name in ("threads", "crawler")
    }
    assert len(digests) == 1


def test_parsers_read_the_same_from_a_page_that_has_everything() -> None:
    html = (
        "<html lang=de><head><title> A  page </title><base href='/x/'><meta name=description "
        "content='About  it'><meta name=robots content='noindex, follow'><link rel=canonical "
        "href=/c><link rel=stylesheet href=s.css></head><body><script>no()</script><a href=1>one"
        "</a> <a href='#'>top</a><area href=2><img src=i.png srcset='j.png 2x'><iframe src=f>"
        "</iframe><form action=/go></form>text</body></html>"
    )
    read = {name: make()(html, forms=False) for name, make in PARSERS.items()}
    for name, raw in read.items():
        assert raw == read[OWN], name
    assert ("1", "page") in read[OWN].links


def test_what_is_not_the_sites_work_is_told(tmp_path: Path) -> None:
    lines = [{"url": "a", "status": 200}, {"url": "a", "status": 200}, {"url": "c", "status": 404}]
    path = tmp_path / "pages.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    wrong = check_pages(path, {"a", "b"}).wrong
    assert [line.split(" ", 1) for line in wrong] == [
        ["a", "written 2 times"],
        ["b", "is missing"],
        ["c", "is not on the site"],
        ["c", "has status 404"],
    ]
    assert check_pages(tmp_path / "nothing", {"a"}).wrong == ("a is missing",)


def test_a_run_that_misses_a_page_is_no_run(stage: SitePool) -> None:
    site = stage.site("latency-0", PAGES)
    more = msgspec.structs.replace(site, urls=(*(site.urls or ()), "http://127.0.0.1/nowhere"))
    with pytest.raises(BenchError, match="nowhere is missing"):
        run_cell(
            BenchCell("latency-0", "asyncio", 8, pages=PAGES),
            more,
            0,
            processes=1,
            python=sys.executable,
        )


# ── the measures ─────────────────────────────────────────────────────────────────────────────

BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"


def test_the_meter_counts_children_and_orphans(tmp_path: Path) -> None:
    """A child, and a grandchild whose parent has gone: all three burn CPU, all are counted."""
    orphan = BURN.format(seconds=0.3)
    child = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {orphan!r}])\n"
    code = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])\n"
        f"buffer = b'x' * 50_000_000\n{BURN.format(seconds=0.3)}"
    )
    cost = metered([sys.executable, "-c", code], tmp_path)
    assert cost.code == 0
    assert 0.6 <= cost.user + cost.system < 2
    assert cost.memory > 50e6
    assert cost.processes >= 1
    assert cost.threads >= 1


@pytest.mark.parametrize("parser", PARSERS)
def test_every_parser_reads_a_crawl(
    stage: SitePool, reference: MeasuredRun, parser: ParserName
) -> None:
    trial = attempt(stage, BenchCell("latency-0", "asyncio", 8, parser, pages=PAGES))
    assert trial.pages == reference.pages


def test_the_meter_ends_what_takes_too_long(tmp_path: Path) -> None:
    cost = metered([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, limit=0.3)
    assert cost.code == EXIT_TIMEOUT
    assert cost.wall < 30


def test_the_meter_passes_a_failure_on(tmp_path: Path) -> None:
    assert metered([sys.executable, "-c", "raise SystemExit(7)"], tmp_path).code == 7


# ── the judgement ────────────────────────────────────────────────────────────────────────────


def row(variant: str, *rates: float, cpu: float = 1.0, workload: str = "latency-0") -> FindingRow:
    """A row whose rounds had these rates."""
    cell = BenchCell(workload, variant, 64, pages=1000)
    trials = [
        MeasuredRun(
            cell=cell,
            round=number,
            inside=InnerMeasures(
                wall=1000 / rate, user=cpu * 0.8, system=cpu * 0.2, parse_cpu=cpu / 2,
                pages=1000, bytes_body=8_000_000, fetch_ms=(1, 2, 3), lag_ms=(1, 2, 3),
            ),
            cost=ProcessCost(code=0, wall=1200 / rate, user=cpu, system=0.3, memory=50_000_000,
                      processes=3, threads=5, switches=2000, preempted=100),
            pages=FoundPages(1000, "d"),
            site=0.1,
        )
        for number, rate in enumerate(rates)
    ]  # fmt: skip
    return rows([cell], trials)[0]


def test_figures_are_of_the_rounds() -> None:
    one = row("asyncio", 100, 300, 200, cpu=2.0)
    assert one.rate == Spread(200, 100, 300)
    assert one.cpu.median == pytest.approx(2.0)
    assert one.loop + one.parse == pytest.approx(2.0)
    assert one.switches == 2


def test_a_difference_within_the_noise_is_called_one() -> None:
    calm, wild = row("asyncio", 200, 210, 190), row("threads", 100, 300, 150)
    assert not faster(calm, wild).real
    assert "no difference" in str(faster(calm, wild))
    assert faster(calm, row("threads", 100, 105, 95)).real
    assert str(faster(calm, row("threads", 100, 105, 95))) == "×2.00 (2.00–2.00)"
    assert not Ratio(1.03, 1.01, 1.04, 9).real, "all agree, but it is too little to matter"
    assert dearer(row("asyncio", 1, cpu=3), row("threads", 1, cpu=1)).median == pytest.approx(3)
    once = faster(row("asyncio", 200), row("threads", 100))
    assert not once.real, "one round says nothing about noise"
    assert "too few rounds" in str(once)
    assert "no verdict" in verdicts([row("asyncio", 200), row("threads", 100)])[-1]


def test_rounds_are_paired() -> None:
    """A machine that halves its speed in round two does not blur a ratio."""
    assert faster(row("a", 200, 100, 220), row("b", 100, 50, 110)) == Ratio(2, 2, 2, 3)


def test_the_verdict_says_who_wins_and_where_it_makes_no_difference() -> None:
    some = [
        row("crawler", 900, 910, 905), row("threads", 300, 310, 305),
        row("asyncio", 600, 610, 600), row("asyncio+pool", 950, 940, 960),
        row("threads", 10, 10, 10, workload="latency-500"),
        row("asyncio", 10, 10, 10, workload="latency-500"),
        row("crawler", 10, 10, 10, workload="latency-500"),
    ]  # fmt: skip
    said = "\n".join(verdicts(some))
    assert "×2.97" in said
    assert "latency-0 @64: asyncio+pool is first; threads is last, ×3.15" in said
    assert "latency-500 @64: it makes no difference" in said
    assert "no difference beyond the noise at latency-500 @64" in said


def test_variants_of_a_place_run_next_to_each_other_in_another_order_each_round() -> None:
    cells = list(plan.full(docs=True).cells)
    orders = [rounds._shuffled(cells, number) for number in range(5)]
    for order in orders:
        assert sorted(order, key=repr) == sorted(cells, key=repr)
        places = [(c.workload, c.concurrency) for c in order]
        assert sum(a != b for a, b in pairwise(places)) == len(set(places)) - 1
    assert len({tuple(order) for order in orders}) == 5


def test_rounds_refuse_two_who_differ(
    stage: SitePool, reference: MeasuredRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forged(cell: BenchCell, *_: object, **__: object) -> MeasuredRun:
        other = msgspec.structs.replace(reference.pages, digest=cell.variant)
        return msgspec.structs.replace(reference, cell=cell, pages=other)

    monkeypatch.setattr(rounds, "run_cell", forged)
    cells = [BenchCell("latency-0", name, 8, pages=PAGES) for name in ("asyncio", "threads")]
    with pytest.raises(BenchError, match="differ on latency-0"):
        rounds.run_rounds(cells, 1, stage, print)


# ── the plan, the page and the command ───────────────────────────────────────────────────────


def test_the_full_plan_has_every_axis() -> None:
    cells = plan.full(docs=True).cells
    assert {c.workload for c in cells} == set(WORKLOADS) - {"docs-apache", "docs-openjdk"}
    assert {c.concurrency for c in cells if c.workload == "latency-100"} == set(plan.WIDTHS)
    assert {c.parser for c in cells} == set(PARSERS)
    assert plan.full(docs=True).rounds >= 5
    assert not any(c.workload == "docs" for c in plan.full(docs=False).cells)
    assert len(set(cells)) == len(cells)


def test_unknown_names_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="no workload 'lateny-0'; there are: latency-0"):
        plan.narrowed(plan.quick(), workloads=["lateny-0"])
    with pytest.raises(ConfigError, match="no variant 'thread'"):
        plan.narrowed(plan.quick(), variants=["thread"])


def test_the_command_measures_and_writes_a_page(tmp_path: Path) -> None:
    arguments = [
        "bench", "--workload", "latency-20", "--variants", "threads,crawler",
        "--concurrency", "4,8", "--rounds", "1", "-O", str(tmp_path), "-q",
    ]  # fmt: skip
    small = msgspec.structs.replace(WORKLOADS["latency-20"], speed=20.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(WORKLOADS, "latency-20", small)  # a web of 40 pages
        done = CliRunner().invoke(crawler, arguments, catch_exceptions=False, standalone_mode=False)
    assert "threads" in done.output
    assert "pages/s" in done.output
    results = report_writer.read(tmp_path / "results.json")
    assert [row.cell.concurrency for row in results.rows] == [4, 4, 8, 8]
    assert results.machine.cpus >= 1
    page = (tmp_path / "index.html").read_text()
    assert "<script" not in page
    assert "Only 1 rounds" in page
    for svg in tmp_path.glob("*.svg"):
        ET.fromstring(svg.read_text())
    markdown = (tmp_path / "index.md").read_text()
    assert all(f"({svg.name})" in markdown for svg in tmp_path.glob("*.svg"))
    assert list(tmp_path.glob("*.svg"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--concurrency", "many"], "--concurrency: 'many' is not a list of numbers"),
        (["--concurrency", "0"], "from 1 to 10000"),
        (["--workload", "none"], "no workload 'none'"),
    ],
)
def test_bad_arguments_get_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(
            crawler, ["bench", *arguments], catch_exceptions=False, standalone_mode=False
        )


def test_the_committed_page_is_made_of_the_committed_figures() -> None:
    folder = ROOT / "docs" / "benchmarks"
    results: BenchResults = report_writer.read(folder / "results.json")
    drawn = charts(results)
    assert (folder / "index.html").read_text() == report_writer.page(results, drawn)
    assert (folder / "index.md").read_text() == report_writer.markdown(results, drawn)
    assert {p.stem for p in folder.glob("*.svg")} == set(drawn)
    assert results.rows
    assert results.peers


def test_each_thread_of_a_crawl_is_told_apart(stage: SitePool, tmp_path: Path) -> None:
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("no /proc/self/schedstat")
    site = stage.site("latency-0", PAGES)
    command = [sys.executable, "-m", "benchmarks.thread_cost", site.url, str(tmp_path / "crawl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    costs = json.loads(done.stdout)
    assert costs["pages"] == PAGES
    parts = [costs[name] for name in ("loop", "frontier", "others", "children")]
    assert all(part > 0 for part in parts)
    assert costs["process"] == pytest.approx(sum(parts[:3]), abs=0.01)


# ── the guard ────────────────────────────────────────────────────────────────────────────────


def test_the_guard_sees_a_tree_that_burns_more(tmp_path: Path) -> None:
    """The same package with 5 ms of work added to each answer; also, the right tree is run."""
    slow = tmp_path / "slow"
    shutil.copytree(
        Path(PROJECT_ROOT) / "crawler",
        slow / "crawler",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    verdict = slow / "crawler" / "policy" / "outcome.py"
    burn = (
        "        until = time.process_time() + 0.005\n"
        "        while time.process_time() < until:\n            pass\n"
        "        status = page.status\n"
    )
    source = verdict.read_text()
    verdict.write_text(source.replace("        status = page.status\n", burn, 1))
    assert verdict.read_text() != source
    finding = compare(Path(PROJECT_ROOT), slow, workload="latency-0", pages=80, rounds=1)
    assert finding.too_slow(0.05), str(finding)
    assert min(finding.now) - min(finding.before) > 3


def test_the_guard_wants_most_rounds_to_agree() -> None:
    assert Finding("x", (1, 1, 1), (1.1, 1.2, 1.1)).too_slow(0.05)
    assert not Finding("x", (1, 1, 1), (1.04, 1.04, 1.04)).too_slow(0.05)
    assert not Finding("x", (1, 1, 1, 1), (1.5, 1.5, 0.9, 0.9)).too_slow(0.05)


def test_what_reading_costs_is_measured_by_a_trees_own_code(tmp_path: Path) -> None:
    """The same package with 10 ms of work added to each page."""
    slow = tmp_path / "slow"
    shutil.copytree(
        Path(PROJECT_ROOT) / "crawler",
        slow / "crawler",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    reader = slow / "crawler" / "parse" / "reader.py"
    burn = (
        "        until = time.process_time() + 0.01\n"
        "        while time.process_time() < until:\n            pass\n"
        "        began = time.perf_counter()\n"
    )
    source = reader.read_text()
    reader.write_text(source.replace("        began = time.perf_counter()\n", burn, 1))
    assert reader.read_text() != source
    (before,), (now,) = parse_cost.compare(slow, Path(PROJECT_ROOT), "demo", rounds=1, most=20)
    assert before > 10_000  # microseconds, by the very clock that was burnt
    assert 0 < now < before


def test_what_is_not_here_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_cost.main(["no-such-revision"]) == 2
    assert "no-such-revision" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="atlantis is not installed"):
        next(parse_cost.pages("atlantis"))


def test_demo_web_speaks_tls(tmp_path: Path) -> None:
    trusted, own = certificate(tmp_path, 1)
    with DemoWeb(pages=3, tls=own) as web:
        assert web.url.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=trusted)
        with urllib.request.urlopen(web.url, context=context) as answer:
            assert b"https://127.0.0.1" in answer.read()
    with (
        pytest.raises(ConfigError, match=r"nothing\.pem: No such file"),
        DemoWeb(tls="nothing.pem"),
    ):
        pass


def test_a_custom_plan_keeps_what_was_asked() -> None:
    chosen = plan.narrowed(plan.quick(), variants=["processes"], concurrency=[16, 128], rounds=2)
    assert {c.concurrency for c in chosen.cells} == {16}, "beyond 64 processes it is not tried"
    assert chosen.rounds == 2
    assert isinstance(chosen, BenchPlan)
    assert plan.with_peers(chosen, only=True).cells == ()
    race = plan.with_peers(chosen, only=True, workloads=["docs-apache"], concurrency=[16, 64])
    assert race.peer_workloads == (("docs-apache", 16), ("docs-apache", 64))
    with pytest.raises(ConfigError, match="no workload 'docs-perl'"):
        plan.with_peers(chosen, only=True, workloads=["docs-perl"])


# ── the race of crawlers ─────────────────────────────────────────────────────────────────────


def test_a_race_counts_what_each_found_in_the_sites_log(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = msgspec.structs.replace(PEERS[2], needs=lambda: None)
    wanted = [peer for peer in PEERS if peer.name in {"crawler, robots on", "limit: aiohttp alone"}]
    monkeypatch.setattr(peer_benchmark, "PEERS", (*wanted, absent))
    monkeypatch.setattr(peer_benchmark, "QUICK", (peer_benchmark.PeerWorkload("latency-0", 8, 40),))
    rows, skipped = peer_benchmark.run_peers(BenchPlan(cells=(), rounds=1, peers=True), print)
    assert [(row.found, row.twice, row.other) for row in rows] == [
        (40, 0, 2),  # robots.txt, and the sitemap that it names
        (40, 0, 0),
    ]
    assert all(row.rate.median > 0 and row.cpu.median > 0 and row.memory > 1 for row in rows)
    assert rows[0].version
    assert skipped == ["Scrapy: not installed (make peers)"]


def test_a_race_is_run_where_and_against_whom_one_says(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [peer for peer in PEERS if peer.name in {"crawler", "limit: aiohttp alone", "Scrapy"}]
    monkeypatch.setattr(peer_benchmark, "PEERS", wanted)
    here = BenchPlan(
        cells=(),
        rounds=1,
        scale=0.01,
        peers=True,
        peer_workloads=(("hosts-200", 4),),
        against=("limit: aiohttp alone",),
    )
    rows, skipped = peer_benchmark.run_peers(here, print)
    assert [(row.name, row.concurrency) for row in rows] == [
        ("crawler", 4),
        ("limit: aiohttp alone", 4),
    ]
    assert not skipped
    with pytest.raises(ConfigError, match="no crawler 'Srapy'; there are: Scrapy, crawler"):
        peer_benchmark.run_peers(msgspec.structs.replace(here, against=("Srapy",)), print)


@pytest.mark.parametrize("name", ["bare: aiohttp + lexbor", "threads, requests + lxml"])
def test_the_crawls_that_lack_everything_find_the_site(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (peer,) = (peer for peer in PEERS if peer.name == name)
    if peer.needs() is None:
        pytest.skip(f"{name}: {peer.install}")
    monkeypatch.setattr(peer_benchmark, "PEERS", (peer,))
    monkeypatch.setattr(peer_benchmark, "QUICK", (peer_benchmark.PeerWorkload("latency-0", 8, 40),))
    rows, _ = peer_benchmark.run_peers(BenchPlan(cells=(), rounds=1, peers=True), print)
    assert (rows[0].found, rows[0].twice) == (40, 0)


@pytest.mark.parametrize("name", ["wget", "wget2", "HTTrack", "Scrapy", "Crawlee Parsel"])
@pytest.mark.slow
def test_a_peer_finds_the_site(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (peer,) = (peer for peer in PEERS if peer.name == name)
    if peer.needs() is None:
        pytest.skip(f"{name} is not installed ({peer.install})")
    monkeypatch.setattr(peer_benchmark, "PEERS", (peer,))
    monkeypatch.setattr(peer_benchmark, "QUICK", (peer_benchmark.PeerWorkload("latency-0", 8, 40),))
    rows, _ = peer_benchmark.run_peers(BenchPlan(cells=(), rounds=1, peers=True), print)
    assert rows[0].found > 30, "wget2 leaves out some pages"


def test_without_its_extra_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['psutil'] = None\n"
        "from crawler.cli.main import main; main(['bench'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "crawler: error: crawler bench needs psutil: pip install 'crawler[bench]'\n"
    )


def test_an_interpreter_without_a_lock_is_skipped_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    plan_of_one = BenchPlan(cells=(BenchCell("latency-0", "threads-nogil", 4, pages=20),), rounds=1)
    cells, skipped = rounds.runnable(plan_of_one)
    assert not cells
    assert "no free-threaded interpreter" in skipped[0]
    (tmp_path / "python3.14t").symlink_to(sys.executable)  # one that has its lock
    assert "cannot run it" in rounds.runnable(plan_of_one)[1][0]


def test_the_list_names_everything() -> None:
    said = CliRunner().invoke(crawler, ["bench", "--list"], standalone_mode=False).output
    assert all(name in said for name in [*WORKLOADS, *VARIANTS])


def test_the_guard_names_an_unknown_revision(capsys: pytest.CaptureFixture[str]) -> None:
    assert guard.main(["no-such-revision"]) == 2
    assert "no-such-revision" in capsys.readouterr().err
