"""The guide's page on results: every command in it is run, its rules and its plugin are loaded."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.places import ROOT

from crawler.cli.main import crawler
from crawler.demo.process import DemoWeb

PAGE = ROOT / "docs" / "guide" / "results.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
COMMANDS = [
    line[2:].partition("  #")[0].strip()
    for kind, block in BLOCKS
    if kind == "console"
    for line in block.splitlines()
    if line.startswith("$ crawler")
]

MODELS = "from pydantic import BaseModel\nclass Product(BaseModel):\n    title: str\n"

ENDS = {"check": {1}, "try": {0, 8}}
"""Exit codes other than 0: the demo web has broken links, and no shop."""


def block(kind: str) -> str:
    return str(next(text for name, text in BLOCKS if name == kind))


def run(command: str) -> Any:
    return crawler.main(shlex.split(command)[1:], prog_name="crawler", standalone_mode=False)


@pytest.mark.timeout(120)
def test_every_command_of_the_page_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pyarrow", "pydantic"):
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    for name, value in {"PACE_FAST": "1", "PARSE_PROCESSES": "1", "RETRY_RETRIES": "0"}.items():
        monkeypatch.setenv(f"CRAWLER_{name}", value)
    Path("shop.toml").write_text(block("toml"))
    Path("shop.py").write_text(block("python"))
    Path("models.py").write_text(MODELS)
    Path("any.toml").write_text('[page.fields]\ntitle = "h1"\n')
    with DemoWeb(pages=6, size=2500, broken=0.1) as web:
        run(f"crawler crawl {web.url} -q -O DIR --rules any.toml --save html")
        shutil.copytree("DIR", "DIR_A")
        run("crawler recrawl DIR -q")
        shutil.copytree("DIR", "DIR_B")
        assert len(COMMANDS) > 20
        for command in COMMANDS:
            said = command.partition(" > ")[0].replace("https://example.com/", web.url)
            if "check" in said and "-O DIR" in said:
                said = said.replace("-O DIR", "-O CHECKED")
            code = run(said) or 0
            assert code in ENDS.get(said.split()[1], {0}), (command, capsys.readouterr())
            shutil.rmtree("crawl", ignore_errors=True)
    for name in ("pages.csv", "export.sqlite", "links.tsv", "links.graphml", "report.html"):
        assert Path("DIR", name).stat().st_size > 100, name
    assert Path("pages.parquet").exists()
    assert len(list(Path("DIR/text").rglob("*.md"))) == 6
