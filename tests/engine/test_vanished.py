"""What vanishes, is replaced or damaged under a crawl that runs, or between two runs, is noticed.

The moment is certain: `/late` is asked for when `/` has been committed, and is answered when the
test has done its deed.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest
from conftest import OpenSite
from helpers.crawling import crawl, records, settings
from helpers.website import Website, gate, page

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.config.loader import ALWAYS, LAST, dump_toml, is_as_saved, marked
from crawler.config.model import Config
from crawler.config.workdir import write_config
from crawler.errors import ConfigError, FatalError, FolderLocked, FrontierLost, SinkLost
from crawler.frontier.sqlite.corruption import damage
from crawler.frontier.sqlite.overview import peek
from crawler.utils.file_identity import trouble

OUTPUTS = ("pages.jsonl", "graph.bin", "skipped.jsonl", "warc/*.warc.gz", "warc/index.db")
FRONTIER = ("frontier.db", "frontier.db-wal")
ALL = {"skipped": True, "output.warc": True, "report": False}


def removed(path: Path) -> None:
    path.unlink()


def moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replaced(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copyfile(path, copy)
    copy.replace(path)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def lengthened(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"{}\n")


def folder_moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("new"))


Deed = Callable[[Path], None]


async def disturbed(site: Website, folder: Path, name: str, deed: Deed) -> tuple[Path, Path]:
    """A crawl to whose file `name` a deed is done after its first commit; where both were."""
    late = gate(page("late", ["/more"]))
    site.put("/", page("home", ["/late", "http://other.invalid/"]))
    site.put("/late", late)
    site.put("/more", page("more"))
    async with open_crawl(settings(site.url, **ALL), dir=folder) as running:
        async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
            crawling = tasks.create_task(running.run())
            await site.wait_for("/late")
            (path,) = folder.glob(name)
            kept = folder.parent / "kept"
            shutil.copyfile(path, kept)
            deed(path)
            late.open()
            await crawling
    return path, kept


def lost(group: BaseException) -> FatalError:
    """The first error of ours, in whatever groups it came."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    assert isinstance(group, FatalError)
    return group


@pytest.mark.parametrize(
    ("name", "deed"),
    [
        *((name, deed) for name in (*OUTPUTS, *FRONTIER) for deed in (removed, replaced)),
        *((name, lengthened) for name in OUTPUTS[:4]),
        *((name, emptied) for name in ("pages.jsonl", "graph.bin", "warc/*.warc.gz")),
        ("pages.jsonl", moved),
        ("pages.jsonl", folder_moved),
    ],
)
async def test_an_output_that_is_not_what_it_was_ends_the_crawl(
    website: OpenSite, tmp_path: Path, name: str, deed: Deed
) -> None:
    site = await website({})
    if name.endswith("-wal") and deed is replaced:
        pytest.skip("SQLite would read the copy")
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - looked at below
        await disturbed(site, tmp_path / "crawl", name, deed)
    error = lost(caught.value)
    assert isinstance(error, SinkLost | FrontierLost)
    assert error.lost
    assert name.partition("*")[0] in str(error)
    assert "\n" not in str(error)
    assert site.hits["/more"] == 0, "it went on"


async def test_what_is_put_back_goes_on_and_nothing_is_lost(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website({})
    folder = tmp_path / "crawl"
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - looked at below
        await disturbed(site, folder, "pages.jsonl", moved)
    assert "pages.jsonl: was removed" in str(lost(caught.value))
    assert peek(folder / "frontier.db").counts.pending == 1, "its page was crossed off"
    (folder / "elsewhere").replace(folder / "pages.jsonl")
    await crawl(settings(site.url, **ALL), folder, mode="resume")
    assert sorted(one["url"] for one in records(folder)) == sorted(
        [site.url, site.at("/late"), site.at("/more")]
    )


async def removed_at_the_end(site: Website, folder: Path, name: str) -> None:
    async with open_crawl(settings(site.url, **ALL), dir=folder) as running:
        await running.run()
        (folder / name).unlink()


async def test_a_file_that_vanishes_after_the_last_commit_is_told(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website({"/": page("home")})
    for name in ("pages.jsonl", "graph.bin", "skipped.jsonl", "frontier.db"):
        folder = tmp_path / name
        with pytest.raises(FatalError, match=f"{name}: was removed"):
            await removed_at_the_end(site, folder, name)


def test_a_look_is_told_in_words(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb", buffering=0) as file:
        number = file.fileno()
        assert trouble(path, number, 0) == ""
        file.write(b"12345")
        assert trouble(path, number, 5) == trouble(path, number) == ""
        assert "5 bytes, not 4" in trouble(path, number, 4)
        path.rename(tmp_path / "other")
        assert "removed" in trouble(path, number)
        path.write_bytes(b"12345")
        assert "replaced" in trouble(path, number)


# ── the settings ─────────────────────────────────────────────────────────────────────────────


def test_every_cut_of_the_settings_is_noticed() -> None:
    text = marked(dump_toml(Config()))
    assert is_as_saved(text)
    for length in range(len(text) - 65):  # so that something of the mark is missing
        with pytest.raises(ConfigError):
            is_as_saved(text[:length])
    assert not is_as_saved(text[:-9]), "a part of the checksum is not the checksum"


def test_settings_that_a_person_edited_are_taken() -> None:
    text = marked(dump_toml(Config()))
    assert not is_as_saved(text.replace("per_host = ", "per_host = 1", 1))
    bare = "\n".join(line for line in text.split("\n") if not line.startswith("#"))
    assert is_as_saved(bare), "an earlier release's"
    last = bare.index("[output]")
    with pytest.raises(ConfigError, match="output"):
        is_as_saved(bare[:last])
    with pytest.raises(ConfigError, match="seeds"):
        is_as_saved("")
    assert {*ALWAYS} <= {*Config.__struct_fields__}
    assert text.rstrip().rpartition("\n")[2].startswith(LAST)


def test_settings_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_config(Config(seeds=("http://one.test/",)), tmp_path)
    before = (tmp_path / "crawl.toml").read_text("utf-8")
    assert is_as_saved(before)
    (tmp_path / ".crawl.toml.new").mkdir()  # it cannot be written
    with pytest.raises(FatalError):
        write_config(Config(), tmp_path)
    assert (tmp_path / "crawl.toml").read_text("utf-8") == before


# ── the command line ─────────────────────────────────────────────────────────────────────────


async def said(*args: str | Path) -> tuple[int, str]:
    """Exit code and stderr of a command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crawler", *map(str, args)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    return process.returncode or 0, errors.decode()


async def stopped(site: Website, folder: Path) -> None:
    """A crawl of one page, with more to visit."""
    site.put("/", page("home", ["/a", "/b", "/c"]))
    for path in ("/a", "/b", "/c"):
        site.put(path, page(path))
    await crawl(settings(site.url, max_pages=1, report=False), folder)


async def test_a_crawl_whose_file_vanished_ends_with_3(website: OpenSite, tmp_path: Path) -> None:
    late = gate(page("late"))
    site = await website({"/": page("home", ["/late"]), "/late": late})
    async with asyncio.TaskGroup() as tasks:
        args = ("crawl", site.url, "-O", tmp_path / "crawl", "--fast", "-q")
        command = tasks.create_task(said(*args))
        await site.wait_for("/late")
        (tmp_path / "crawl" / "pages.jsonl").unlink()
        late.open()
    code, errors = command.result()
    assert code == 3, errors
    assert "pages.jsonl: was removed" in errors
    assert "nothing that was done is lost" not in errors
    assert "Traceback" not in errors


async def test_resume_says_that_its_settings_are_not_whole(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website({})
    folder = tmp_path / "crawl"
    await stopped(site, folder)
    path = folder / "crawl.toml"
    whole = path.read_bytes()
    for wrong in (b"", whole[: len(whole) // 2], b"\0" * len(whole), whole[:-80], b"\xff" + whole):
        path.write_bytes(wrong)
        code, errors = await said("resume", folder, "-q")
        assert code == 2, errors
        assert "crawl.toml" in errors
        assert len(errors.strip().splitlines()) == 1
    path.unlink()
    code, errors = await said("resume", folder, "-q")
    assert (code, "crawl.toml: is gone" in errors) == (2, True), errors
    path.write_bytes(whole.replace(b"max_pages = 1", b"max_pages = 2"))
    code, errors = await said("resume", folder, "-q")
    assert (code, "was edited" in errors) == (0, True), errors
    assert len(records(folder)) == 2


READERS = ("status", "why", "report", "export")


def reading(name: str, site: Website, folder: Path) -> tuple[str | Path, ...]:
    more = {"why": (site.at("/a"),), "export": (folder.with_name("out"),)}.get(name, ())
    return (name, folder, *more) if name != "export" else ("export", "urls", folder)


@pytest.mark.parametrize(
    "change",
    [
        "url = CAST(x'687474703a2f2fff2f' AS TEXT)",  # no UTF-8
        "url = replace(url, '127', '927')",  # a bit of it turned over
        "url = x'00'",
        "kind = 99",
        "host = 12345",
    ],
)
async def test_a_damaged_row_is_the_files_fault(
    website: OpenSite, tmp_path: Path, change: str
) -> None:
    site = await website({})
    folder = tmp_path / "crawl"
    await stopped(site, folder)
    with closing(sqlite3.connect(folder / "frontier.db")) as db, db:
        db.execute(f"UPDATE link SET {change} WHERE url LIKE '%/a'")
    code, errors = await said("resume", folder, "-q", "-s", "limits.max_pages=9")
    if change != "host = 12345":  # no queue has it: the others are visited
        assert code == 3, errors
        assert "frontier.db: is damaged" in errors
    assert "Traceback" not in errors
    assert "bug" not in errors
    for name in READERS:
        code, errors = await said(*reading(name, site, folder))
        assert code in {0, 2, 3}, (name, errors)
        assert "bug" not in errors, (name, errors)


@pytest.mark.parametrize(
    "column",
    ["pace.parked_until", "host.rest_until", "robots.expires_at", "link.due", "link.depth"],
)
def test_a_value_of_another_type_is_damage(column: str) -> None:
    """A byte of a row's header turned over: a number became a blob."""
    with closing(sqlite3.connect(":memory:")) as db:
        schema = (
            resources.files("crawler.frontier.sqlite").joinpath("schema.sql").read_text("utf-8")
        )
        db.executescript(schema)
        assert damage(db) == ""
        table, _, name = column.partition(".")
        rows = {
            "pace": "('k', 1, 0, 0, x'00')", "host": "(1, 'h', x'00', NULL)",
            "robots": "('o', 1, 200, x'', x'00', NULL)",
        }  # fmt: skip
        if table == "link":
            db.execute(
                "INSERT INTO link (key, host, url, kind, depth, rank, state, due) "
                f"VALUES (x'00', 1, 'u', 0, {'x' if name == 'depth' else ''}'0', 0, 0, "
                f"{'x' if name == 'due' else ''}'0')".replace("x'0'", "x'00'")
            )
        else:
            db.execute(f"INSERT INTO {table} VALUES {rows[table]}")
        assert damage(db) == f"{column} has a value that is not what was written"


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("mark.length", "x'00'"), ("host.name", "x'00'"), ("host.rest_until", "x'00'"),
        ("host.rest_until", "1e300"), ("robots.body", "-5"), ("robots.expires_at", "x'00'"),
        ("robots.delay", "x'00'"), ("link.depth", "x'00'"), ("link.attempt", "x'00'"),
        ("link.state", "1"), ("link.due", "1e300"), ("link.visited_at", "1e300"),
        ("link.bytes", "x'00'"), ("link.reason", "x'00'"), ("link.cookie", "x'00'"),
    ],
)  # fmt: skip
async def test_no_command_calls_damage_a_bug(
    website: OpenSite, tmp_path: Path, where: str, value: str
) -> None:
    site = await website({})
    folder = tmp_path / "crawl"
    await stopped(site, folder)
    table, _, column = where.partition(".")
    with closing(sqlite3.connect(folder / "frontier.db")) as db, db:
        db.execute(f"UPDATE {table} SET {column} = {value}")
    codes = set()
    for args in (
        *(reading(name, site, folder) for name in READERS),
        ("resume", folder, "-q", "-s", "limits.max_pages=9", "-s", "output.report=true"),
    ):
        code, errors = await said(*args)
        codes.add(code)
        assert code in {0, 2, 3}, (args, errors)
        assert "bug" not in errors, (args, errors)
        assert "Traceback" not in errors
    assert 3 in codes


async def test_bytes_that_turned_over_anywhere_are_no_bug(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website({})
    await stopped(site, tmp_path / "crawl")
    good = (tmp_path / "crawl" / "frontier.db").read_bytes()
    used = [at for at, byte in enumerate(good) if byte]
    chance = random.Random(97)
    for trial in range(int(os.environ.get("CRAWLER_TEST_TRIALS", "2"))):
        folder = tmp_path / str(trial)
        shutil.copytree(tmp_path / "crawl", folder)
        bad = bytearray(good)
        for at in chance.sample(used, 3):
            bad[at] ^= 1 << chance.randrange(8)
        (folder / "frontier.db").write_bytes(bad)
        for args in (
            *(reading(name, site, folder) for name in READERS),
            ("retry", folder, "-q"),
            ("resume", folder, "-q", "-s", "limits.max_pages=9", "-s", "output.report=true"),
        ):
            code, errors = await said(*args)
            assert code in {0, 2, 3, 4, 8}, (trial, args, errors)
            assert "bug" not in errors, (trial, args, errors)
            assert "Traceback" not in errors, (trial, args, errors)


async def test_a_frontier_that_was_emptied_costs_no_records(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website({"/": page(links=["/a"]), "/a": page()})
    await crawl(settings(site.url), tmp_path)
    before = (tmp_path / "pages.jsonl").read_bytes()
    (tmp_path / "frontier.db").write_bytes(b"")
    with pytest.raises(FatalError, match="was emptied, but pages"):
        await crawl(settings(site.url), tmp_path, mode="resume")
    assert (tmp_path / "pages.jsonl").read_bytes() == before
    (tmp_path / "frontier.db").unlink()
    with pytest.raises(FolderLocked, match="is gone"):
        await crawl(settings(site.url), tmp_path)
    assert (tmp_path / "pages.jsonl").read_bytes() == before
