"""What a crawl writes stays in its folder, whatever symbolic links lie there."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.cli.main import _run
from crawler.config.workdir import FOLDERS, OURS, prepare
from crawler.demo.process import DemoWeb
from crawler.errors import FatalError
from crawler.utils.no_symlinks import make_folders, open_new


@pytest.fixture(scope="module")
def web() -> Iterator[DemoWeb]:
    with DemoWeb(pages=5, hosts=1) as web:
        yield web


@pytest.mark.parametrize("name", [*OURS, *FOLDERS, "spool", "frontier.lock", "warc/index.db"])
def test_a_link_where_a_crawl_writes_is_refused_before_it_begins(tmp_path: Path, name: str) -> None:
    away, folder = tmp_path / "away", tmp_path / "crawl"
    link = folder / name
    link.parent.mkdir(parents=True)
    link.symlink_to(away, target_is_directory=name in FOLDERS)
    with pytest.raises(FatalError, match=f"{link.name}: is a symbolic link"):
        prepare(folder, "new")
    assert not away.exists()


def test_a_folder_that_is_itself_a_link_is_written_to(web: DemoWeb, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "crawl").symlink_to(tmp_path / "disk")
    assert _run(["crawl", web.url, "-O", str(tmp_path / "crawl"), "--fast", "-q"]) == 0
    assert (tmp_path / "disk" / "pages.jsonl").exists()


@pytest.mark.parametrize("form", ["--save=html", "--text", "--mirror"])
def test_a_link_among_the_pages_files_ends_the_crawl_and_nothing_is_written_through_it(
    web: DemoWeb, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, away = tmp_path / "crawl", tmp_path / "away"
    away.mkdir()
    words = ["crawl", web.url, "-O", str(folder), "--fast", "-q", form]
    assert _run(words) == 0
    kind = {"--save=html": "html", "--text": "text", "--mirror": "mirror"}[form]
    (host,) = [path for path in (folder / kind).iterdir() if path.is_dir()]
    names = {path.name for path in host.iterdir()}
    assert names
    for path in (folder / "frontier.db", folder / "pages.jsonl"):
        path.unlink()
    host.rename(tmp_path / "kept")
    host.symlink_to(away)
    if form == "--mirror":
        assert _run(["export", "mirror", str(folder)]) == 3
    else:
        assert _run(words) == 3
    assert f"{host.name}: is a symbolic link" in capsys.readouterr().err
    assert list(away.iterdir()) == []


def test_files_and_folders_below(tmp_path: Path) -> None:
    path = make_folders(tmp_path / "new", "a/b/c")
    with open_new(path) as file:
        file.write(b"one")
    assert make_folders(tmp_path / "new", "a/b/c").read_bytes() == b"one"
    (tmp_path / "new" / "a" / "l").symlink_to("c")
    for relative in ("a/l", "a/l/x"):
        with pytest.raises(OSError, match="symbolic link") as caught:
            make_folders(tmp_path / "new", relative)
        assert caught.value.errno == errno.ELOOP
    with pytest.raises(OSError, match="symbolic link"):
        open_new(tmp_path / "new" / "a" / "l")
    assert not (tmp_path / "new" / "a" / "c").exists()
