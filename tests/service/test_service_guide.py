"""The guide's commands work as they are written; only the ports are others."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import OpenSite
from helpers.places import ROOT
from helpers.serving import Client, Process, service
from helpers.website import page

from crawler.cli.job_text import asked
from crawler.cli.jobs import jobs
from crawler.config.loader import Settings
from crawler.service.jobs.job import ACTIONS, JobState
from crawler.service.settings import ServiceConfig, read

GUIDE = ROOT / "docs" / "guide" / "service.md"


def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


@pytest.mark.skipif(
    not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl"
)
def test_from_nothing_to_the_first_finished_job(tmp_path: Path) -> None:
    said = as_written(GUIDE, 3, tmp_path)
    assert said.count('"state":"finished"') == 1
    assert re.search(r"finished +8 pages .* again", said), said
    assert len((tmp_path / "demo.jsonl").read_text().splitlines()) >= 8


@pytest.mark.skipif(
    not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl"
)
def test_from_nothing_to_the_first_downloaded_files(tmp_path: Path) -> None:
    said = as_written(GUIDE.with_name("service-downloads.md"), 2, tmp_path)
    assert said.count('"state":"finished"') == 1
    assert said.count('"state":"done"') == 2
    assert re.search(r"done +[0-9.]+ k?B  pages/home.html", said), said
    assert "<html" in (tmp_path / "home.html").read_text("utf-8").lower()


def as_written(guide: Path, number: int, tmp_path: Path) -> str:
    """What a page's commands say, one after the other; only the ports are others."""
    blocks = re.findall(r"```bash\n(.*?)```", guide.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == number
    api, web = free_port(), free_port()
    script = "set -eu\ntrap 'kill $(jobs -p)' EXIT\n" + "\n".join(blocks)
    script = script.replace("crawler serve", f"crawler serve --port {api}")
    script = script.replace("8080", str(api)).replace("8001", str(web))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "CRAWLER_SERVICE_URL": f"http://127.0.0.1:{api}"}
    process = subprocess.Popen(
        ["bash", "-c", script], cwd=tmp_path, env=env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=50)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said
    return said


async def test_the_client_asks_and_is_told(tmp_path: Path, website: OpenSite) -> None:
    site = await website({"/": page(links=["/gone"])})
    async with service(tmp_path) as opened, Client(opened.url) as client:

        async def run(*args: str, expect: int = 0) -> str:
            import asyncio  # noqa: PLC0415 - the client is blocking

            result = await asyncio.to_thread(
                CliRunner().invoke, jobs, ["--server", opened.url, *args], standalone_mode=False
            )
            if expect:
                assert result.exception is not None
                return str(result.exception)
            assert result.exception is None, result.exception
            return result.output

        job = (await run("start", site.url, "-s", "pace.fast=true", "--name", "x")).strip()
        await client.until(job, "finished")
        assert "finished" in await run("list", "--state", "finished")
        assert job in await run("show", job)
        assert site.url in await run("errors", job)
        assert "failed: status:404 404" in await run("why", job, site.at("/gone"))
        assert len((await run("pages", job)).splitlines()) == 2
        assert "cannot be asked to pause" in await run("pause", job, expect=2)
        assert "404" in await run("show", "0" * 12, expect=2)
        await run("delete", job)
        assert await run("list") == ""


def test_only_what_was_said_is_sent() -> None:
    settings = Settings()
    settings.set("limits.max_pages", "5", "--max-pages")
    settings.set("seeds", ["https://e.com/"], "command line")
    assert asked(settings) == {"limits": {"max_pages": 5}, "seeds": ["https://e.com/"]}


def test_the_guide_names_every_state_and_setting() -> None:
    text = GUIDE.read_text("utf-8")
    for word in (*(state.value for state in JobState), *ACTIONS, *ServiceConfig.__struct_fields__):
        assert f"`{word}`" in text or re.search(rf"\b{word}\b", text), word


def test_settings_from_everywhere() -> None:
    text = '[service]\nrunning = 2\nmin_free = "1GB"\n[fetch]\ncontact = "x"\n'
    env = {
        "CRAWLER_SERVICE_RUNNING": "3",
        "CRAWLER_SERVICE_TOKEN": "t" * 20,
        "CRAWLER_SERVICE_ALLOW": "",
    }
    config, defaults = read(text, "s.toml", env, {"port": "0", "allow": ()})
    assert (config.running, config.min_free, config.port) == (3, 10**9, 0)
    assert defaults == {"fetch": {"contact": "x"}}


def test_a_service_in_use_and_a_port_in_use_are_one_line_each(tmp_path: Path) -> None:
    with Process(tmp_path) as first:
        for flags in (
            (),
            ("--dir", str(tmp_path / "other"), "--port", first.url.rsplit(":", 1)[1]),
        ):
            second = subprocess.run(
                [sys.executable, "-m", "crawler", "serve",
                 "--dir", str(tmp_path), "--port", "0", *flags],
                check=False, capture_output=True, text=True, timeout=30,
            )  # fmt: skip
            assert second.returncode == 3
            assert second.stderr.startswith("crawler: error: ")
            assert second.stderr.count("\n") == 1
        assert first.end() == 0


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = subprocess.run(
        [sys.executable, "-m", "crawler", "serve", "--dir", str(tmp_path / "file" / "x")],
        check=False, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert result.returncode == 3
    assert "must be writable by" in result.stderr
    assert result.stderr.count("\n") == 1
