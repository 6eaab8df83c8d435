"""Rules and plugins: what they take, what they cannot break, and how a mistake is told."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.crawling import by_path, crawl, settings
from helpers.website import Website, page, reply

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.errors import ConfigError
from crawler.parse.extraction_rules import load_rules
from crawler.parse.plugins import PluginPage, check_plugins

Open = Callable[..., Awaitable[Website]]

SHOP = """<html><head><meta property="og:image" content="/big.png"><base href="/shop/">
<script type="application/ld+json">{"@graph": [{"@type": "Product", "sku": 7}, "x"]}</script>
<script type="application/ld+json">not json</script></head><body><h1> A
 shop </h1>
<div class=p><b class=n>One</b><i class=price>1,234.50 EUR</i><img src=1.png>
<a class=t>x</a><a class=t>y</a><time datetime="2026-02-03T04:05:06Z"></time><u>yes</u></div>
<div class=p><b class=n>Two</b><i class=price>free</i></div>
<div class=p><i class=price>3</i></div></body></html>"""

RULES = r"""
[product]
match = '/shop'
each = "div.p"
[product.fields]
name = { css = ".n", required = true }
price = { css = ".price", regex = '([\d.,]+)', type = "float" }
image = { css = "img", attr = "src", type = "url" }
tags = { css = ".t", list = true }
at = { css = "time", attr = "datetime", type = "datetime" }
fresh = { css = "u", type = "bool", default = false }

[shop]
[shop.fields]
title = "h1"
card = { meta = "og:image", type = "url" }
"""


def run(rules: str, folder: Path, html: str = SHOP, url: str = "http://a.test/shop/") -> Any:
    path = folder / "rules.toml"
    path.write_text(rules)
    parsed = PluginPage(url, html, "", "", (), base="http://a.test/shop/")
    records = [one for plugin in load_rules([str(path)]) for one in plugin.run(parsed)[0]]
    return records, parsed.problems


def test_rules_take_typed_values(tmp_path: Path) -> None:
    records, problems = run(RULES, tmp_path)
    assert records == [
        {
            "_rule": "product", "name": "One", "price": 1234.5, "tags": ["x", "y"],
            "image": "http://a.test/shop/1.png", "at": "2026-02-03T04:05:06+00:00", "fresh": True,
        },
        {
            "_rule": "product", "name": "Two", "price": None, "tags": [], "image": None,
            "at": None, "fresh": False,
        },
        {"_rule": "shop", "title": "A shop", "card": "http://a.test/big.png"},
    ]  # fmt: skip
    assert problems == ["rule product: no name"]


def test_a_page_that_has_nothing_of_a_kind_is_no_problem(tmp_path: Path) -> None:
    assert run('[a]\n[a.fields]\nx = { css = ".no", required = true }\n', tmp_path) == ([], [])
    records, _ = run(RULES, tmp_path, url="http://a.test/other")
    assert [one["_rule"] for one in records] == ["shop"]


def test_what_does_not_convert_is_none_with_a_problem(tmp_path: Path) -> None:
    records, problems = run('[a.fields]\nx = "h1"\ny = { css = "h1", type = "int" }\n', tmp_path)
    assert records == [{"_rule": "a", "x": "A shop", "y": None}]
    assert problems == ["y: 'A shop' is no int"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1", "[a] is not a table"),
        ("[a]\n", "[a] Object missing required field `fields`"),
        ("[a.fields]\n", "[a] fields: none"),
        ("[a]\nfeilds = 1\n[a.fields]\nx='p'", "unknown field `feilds`"),
        ("[a.fields]\nx = 'p['", "x: 'p[' is not a CSS selector"),
        ("[a.fields]\nx = { css = 'p', regex = '(' }", "x: '(' is not a regular expression"),
        ("[a.fields]\nx = { css = 'p', type = 'money' }", "Invalid enum value 'money'"),
        ("[a.fields]\nx = { css = 'p', meta = 'q' }", "css or meta, not both"),
        ("[a]\nmodel = 'nowhere.at_all:M'\n[a.fields]\nx='p'", "No module named 'nowhere'"),
        ("nonsense", "not valid TOML"),
        ("", "no rules in it"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_rules([str(path)])
    if "nowhere" not in said:
        assert str(raised.value).startswith(str(path))
    assert said in str(raised.value)


def test_a_record_of_which_no_value_fits_is_none(tmp_path: Path) -> None:
    rule = '[x]\n[x.fields]\na = { css = "h1", type = "int" }\nb = "h2"'
    records, problems = run(rule, tmp_path, "<h1>one</h1>")
    assert (records, problems[-1]) == ([], "rule x: no value fits its type")
    records, _ = run(rule, tmp_path, "<h1>one</h1><h2>two</h2>")
    assert records == [{"_rule": "x", "a": None, "b": "two"}]


def test_a_record_is_validated_by_a_model_when_asked(tmp_path: Path) -> None:
    pytest.importorskip("pydantic")
    (tmp_path / "models.py").write_text(
        "from pydantic import BaseModel, Field\n"
        "class Product(BaseModel):\n    name: str\n    price: float = Field(gt=100)\n"
    )
    rules = RULES.replace("each =", f'model = "{tmp_path}/models.py:Product"\neach =', 1)
    records, problems = run(rules, tmp_path)
    assert records[0] == {"_rule": "product", "name": "One", "price": 1234.5}
    assert len(records) == 2
    assert any(one.startswith("rule product: price") for one in problems), problems


def test_a_plugin_sees_meta_and_json_ld() -> None:
    parsed = PluginPage("http://a.test/", SHOP, "", "", ())
    assert parsed.meta == {"og:image": "/big.png"}
    assert parsed.json_ld == [{"@type": "Product", "sku": 7}]


async def test_records_are_written_once_and_links_followed(website: Open, tmp_path: Path) -> None:
    plugin = tmp_path / "plug.py"
    plugin.write_text(
        "from crawler import Follow\n"
        "def extract(page):\n"
        "    yield {'title': page.title}\n"
        "    if page.url.endswith('/'):\n"
        "        yield Follow('hidden')\n"
        "        yield Follow('mailto:x@y.z')\n"
        "        yield Follow('http://elsewhere.test/')\n"
        "def broken(page):\n    yield {'x': 1}\n    raise KeyError('price')\n"
        "def odd(page):\n    yield 7\n"
    )
    site = await website({"/": page("Home", ["/a"]), "/a": page("A"), "/hidden": page("Hidden")})
    names = [f"{plugin}:extract", f"{plugin}:broken", f"{plugin}:odd"]
    folder = tmp_path / "crawl"
    await crawl(settings(site.url, plugins=names), folder)
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    titles = {(line["_url"], line["title"]) for line in lines if "title" in line}
    assert titles == {(site.url, "Home"), (site.at("/a"), "A"), (site.at("/hidden"), "Hidden")}
    assert len(lines) == 6
    assert all(line["_fetched_at"].endswith("Z") for line in lines)
    found = by_path(folder)
    assert found["/hidden"]["via"] == site.url
    assert found["/a"]["problems"] == [
        f"plugin {plugin}:broken: KeyError: 'price'",
        f"plugin {plugin}:odd: TypeError: yielded int, not a dict",
    ]
    await crawl(settings(site.url, plugins=names), folder, "resume")
    assert len((folder / "records.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{0}/none.py:extract", "No such file"),
        ("{0}/bad.py", "invalid syntax"),
        ("{0}/good.py:missing", "has no 'missing'"),
        ("no_such_package.at_all:f", "no module"),
    ],
)
async def test_a_plugin_that_is_not_there_is_told_before_anything_opens(
    name: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.py").write_text("def extract(:\n")
    (tmp_path / "good.py").write_text("def extract(page):\n    return ()\nother = extract\n")
    check_plugins([f"{tmp_path}/good.py:other", f"{tmp_path}/good.py", "json:loads"])
    config = settings("http://127.0.0.1:1/", plugins=[name.format(tmp_path)])
    with pytest.raises(ConfigError, match=said):
        async with open_crawl(config, dir=tmp_path / "crawl"):
            pass
    assert not (tmp_path / "crawl").exists()


async def test_try_shows_what_a_file_finds(website: Open, tmp_path: Path) -> None:
    site = await website({"/shop/": reply(SHOP)})
    (tmp_path / "rules.toml").write_text(RULES)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "crawler", "try", str(tmp_path / "rules.toml"),
         site.at("/shop/"), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert [json.loads(line)["_rule"] for line in done.stdout.splitlines()] == [
        "product", "product", "shop"
    ]  # fmt: skip
    assert "problem: rule product: no name" in done.stderr
    assert done.returncode == 8
