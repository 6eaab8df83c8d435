"""The README's commands are run as they stand there, on a site of ours."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from helpers.places import ROOT
from helpers.website import Website, page

README = ROOT / "README.md"
BLOCKS = re.findall(r"```console\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
COMMANDS = [
    part.strip()
    for block in BLOCKS
    for line in re.findall(r"^\$ ([^#\n]*)", block, re.MULTILINE)
    for part in line.split("&&")
]
ELSEWHERE = ("make ", "docker ", "crawler serve", "crawler jobs")
"""Tested by .ci/run itself, by `make compose-test`, and by tests/service/test_service_guide.py."""

RULES = '[page.fields]\ntitle = "title"\n'
PLUGIN = "def extract(page):\n    yield {'title': page.title}\n"

Open = Callable[..., Awaitable[Website]]


async def run(arguments: list[str], folder: Path) -> tuple[int, str]:
    settings = {"CRAWLER_PACE_FAST": "1", "CRAWLER_PARSE_PROCESSES": "1", "COLUMNS": "100"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **settings},
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


def alternatives(command: str) -> list[str]:
    """`export csv|jsonl DIR` is two commands."""
    choice = re.search(r"\S+\|\S+", command)
    if choice is None:
        return [command]
    return [command.replace(choice[0], one) for one in choice[0].split("|")]


def test_every_command_is_run_somewhere() -> None:
    assert len(COMMANDS) > 20
    assert {one for one in COMMANDS if one.startswith(ELSEWHERE)} != set(COMMANDS)


def test_what_it_links_to_is_in_the_source_distribution() -> None:
    words = [line.split() for line in (README.parent / "MANIFEST.in").read_text().splitlines()]
    held = [one for kind, *names in words if kind in {"graft", "include"} for one in names]
    links = re.findall(r"\]\(([^):#]+)", README.read_text("utf-8"))
    ours = {one.split("/")[0] for one in links} - {"crawler"}  # a package: taken by itself
    assert len(links) > 10
    assert ours | {"tests", "constraints.txt", "Makefile"} <= set(held)


@pytest.mark.timeout(120)
async def test_the_commands_run(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page("Home", links=["/a"]), "/a": page("A", links=["/"])})
    (tmp_path / "shop.toml").write_text(RULES)
    (tmp_path / "shop.py").write_text(PLUGIN)
    for command in COMMANDS:
        if command.startswith(ELSEWHERE):
            continue
        for one in alternatives(command):
            words = [
                {"URL": site.url, "DIR": "DIR", "https://example.com/": site.url}.get(word, word)
                for word in shlex.split(one)
            ]
            if words[1] == "crawl" and "DIR" not in words:
                words.append("--fresh")  # the README's reader starts each in a folder of its own
            if words[1] == "demo-crawl":
                words += ["-O", "demo", "--pages", "50"]
            code, said = await run(["-m", *words], tmp_path)
            assert code == 0, f"{one}: exit code {code}\n{said}"
            assert "Traceback" not in said


async def test_the_program_runs(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page("Home", links=["/a"]), "/a": page("A")})
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    (tmp_path / "program.py").write_text(program.replace("https://example.com/", site.url))
    code, said = await run(["program.py"], tmp_path)
    assert (code, set(said.splitlines())) == (0, {f"{site.url} Home", f"{site.url}a A"}), said
