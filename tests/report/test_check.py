"""`crawler check`: what is in scope is read, what is outside only asked for."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.website import Answer, Asked, Reply, Website, gzip_bomb, page, redirect, reply

Open = Callable[..., Awaitable[Website]]


class Told(NamedTuple):
    exit_code: int
    output: str
    errors: str


async def check(*args: str) -> Told:
    """The command as people call it, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crawler", "check", "--fast", "-s", "parse.processes=1", *args,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(40):
        output, errors = await process.communicate()
    return Told(process.returncode or 0, output.decode(), errors.decode())


def only_get() -> Answer:
    async def answer(asked: Asked) -> Reply:
        return Reply(405 if asked.method == "HEAD" else 200)

    return answer


async def test_a_sound_site_is_0_and_what_is_outside_is_asked_with_head_and_not_followed(
    website: Open,
) -> None:
    site = await website(
        {
            "/": page(links=["/a", "/moved", "/shy"], head="<link rel=icon href=/i>"),
            "/a": page(links=["/deeper"]),
            "/moved": redirect("/deeper"),
            "/deeper": page(),
            "/shy": only_get(),
            "/i": reply(b"icon", mime="image/x-icon"),
        },
    )
    result = await check(site.url, "--format", "json", "--scope", "page")
    told = json.loads(result.output)
    assert (result.exit_code, told["sound"], told["pages"], told["links"]) == (0, True, 1, 6)
    asked = {one.path: one.method for one in site.log if one.path not in {"/shy", "/robots.txt"}}
    assert asked == {"/": "GET", "/a": "HEAD", "/moved": "HEAD", "/i": "HEAD", "/deeper": "HEAD"}
    assert [one.method for one in site.log if one.path == "/shy"] == ["HEAD", "GET"]
    result = await check(site.url, "--scope", "page", "--internal")
    assert "checked 1 link," in result.output
    assert site.hits["/a"] == 1


async def test_a_broken_link_is_1_with_the_pages_that_have_it(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page(links=["/a"]), "/a": page(links=["/gone", "/"])})
    result = await check(site.url, "-O", str(tmp_path / "kept"))
    assert result.exit_code == 1
    assert f"404  {site.at('/gone')}\n     on {site.at('/a')}\n" in result.output
    assert "checked 3 links, 2 of them pages that were read: 1 broken" in result.output
    assert (tmp_path / "kept" / "report.html").exists()
    assert (await check(site.url, "-O", str(tmp_path / "kept"))).exit_code == 3
    assert (await check(site.url, "-O", str(tmp_path / "kept"), "--fresh")).exit_code == 1
    assert (await check(site.url, "--accept", "404")).exit_code == 0


async def test_junit_has_a_case_a_link(website: Open) -> None:
    site = await website({"/": page(links=["/a&b", "/gone?x=1&y=2"]), "/a&b": page()})
    result = await check(site.url, "--format", "junit")
    suite = ET.fromstring(result.output).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    cases = {case.get("name"): case.find("failure") is not None for case in suite}
    assert cases == {site.url: False, site.at("/a&b"): False, site.at("/gone?x=1&y=2"): True}


async def test_assets_and_pages_that_only_answer_get(website: Open) -> None:
    site = await website(
        {"/": page(head='<img src="/shy.png"><img src="/no.png">'), "/shy.png": only_get()}
    )
    result = await check(site.url)
    assert result.exit_code == 1
    assert site.at("/no.png") in result.output
    assert site.at("/shy.png") not in result.output
    assert [one.method for one in site.log if one.path == "/shy.png"] == ["HEAD", "GET"]
    assert site.hits["/no.png"] == 2


async def test_fragments_are_looked_for_when_asked(website: Open) -> None:
    site = await website(
        {
            "/": page(
                links=[
                    "/a#here",
                    "/a#named",
                    "/a#n%C3%A4h",
                    "/a#gone",
                    "#self",
                    "#top",
                    "/a#/route",
                ]
            ),
            "/a": reply("<p id=here><a name=named></a><b id=näh>"),
        }
    )
    assert (await check(site.url)).exit_code == 0
    result = await check(site.url, "--anchors")
    assert result.exit_code == 1
    assert f"no #gone  {site.at('/a')}\n     on {site.url}" in result.output
    assert f"no #self  {site.url}\n" in result.output
    assert "2 missing anchors" in result.output


async def test_a_site_that_is_not_there_is_broken(unused_port: int) -> None:
    result = await check(f"http://127.0.0.1:{unused_port}/", "-t", "0")
    assert result.exit_code == 1
    assert "connection:connrefused" in result.output


QUICK = ("-t", "0", "-s", "fetch.private=any")
"""One try; the second host of a website may be asked, though its address is private."""


def of_many(*statuses: int) -> dict[str, Answer]:
    return {f"/{status}": reply(b"", status=status) for status in statuses}


async def test_what_turns_us_away_elsewhere_is_unsure_and_broken_here(website: Open) -> None:
    elsewhere = of_many(403, 429, 503, 999, 404, 500)
    site = await website(
        {"/": page(links=[*(f"{{1}}{path}" for path in elsewhere), "/403", "/429"]),
         **of_many(403, 429)},
        elsewhere,
    )  # fmt: skip
    result = await check(site.url, "--format", "json", *QUICK)
    told = json.loads(result.output)
    assert {one["url"] for one in told["broken"]} == {
        site.at("/404", 1), site.at("/500", 1), site.at("/403"),
    }  # fmt: skip
    assert {one["status"] for one in told["unsure"]} == {403, 429, 503, 999}
    assert site.at("/429") in {one["url"] for one in told["unsure"]}
    assert all(one["sources"][0]["url"] == site.url for one in told["unsure"])


async def test_unsure_links_alone_fail_nothing_and_junit_skips_them(website: Open) -> None:
    site = await website({"/": page(links=["{1}/403", "/cdn-cgi/l/email-protection#3a"])},
                         of_many(403))  # fmt: skip
    result = await check(site.url, "--format", "junit", *QUICK)
    assert result.exit_code == 0
    suite = ET.fromstring(result.output).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "0", "2")
    assert len(suite.findall("testcase/skipped")) == 2
    text = await check(site.url, *QUICK)
    assert f"unsure: 403  {site.at('/403', 1)}\n     on {site.url}\n" in text.output
    assert "0 broken, 2 unsure" in text.output


async def test_a_redirect_is_followed_to_its_end_also_elsewhere(website: Open) -> None:
    site = await website(
        {"/": page(links=["{1}/dead", "{1}/good", "{1}/round", "/moved"], head="<img src=/im>"),
         "/im": redirect("/im-gone"), "/moved": redirect("/there", 301), "/there": page()},
        {"/dead": redirect("/next", 301), "/next": redirect("/gone"),
         "/good": redirect("/end", 308), "/end": page(), "/round": redirect("/round")},
    )  # fmt: skip
    result = await check(site.url, "--format", "json", *QUICK)
    assert result.exit_code == 1
    told = json.loads(result.output)
    found = {one["url"]: one["sources"] for one in told["broken"]}
    assert set(found) == {site.at("/gone", 1), site.at("/round", 1), site.at("/im-gone")}
    assert found[site.at("/gone", 1)] == [{"url": site.url, "through": site.at("/dead", 1)}]
    notes = {(one["status"], one["url"], one["target"]) for one in told["redirects"]}
    assert (301, site.at("/moved"), site.at("/there")) in notes
    assert (308, site.at("/good", 1), site.at("/end", 1)) in notes
    text = await check(site.url, *QUICK)
    assert (
        f"note: 301  {site.at('/moved')} redirects permanently to {site.at('/there')}\n"
        in text.output
    )
    assert f"redirect:loop  {site.at('/round', 1)}\n" in text.output


async def test_what_is_there_but_too_large_or_unreadable_is_no_broken_link(website: Open) -> None:
    site = await website(
        {"/": page(links=["/big.zip", "/bomb"]), "/big.zip": reply(b"x" * 50_000),
         "/bomb": gzip_bomb()}
    )  # fmt: skip
    result = await check(site.url, *QUICK, "--max-body", "20000")
    assert (result.exit_code, "0 broken" in result.output) == (0, True), result.output


async def test_a_server_that_hangs_up_on_head_is_asked_with_get(website: Open) -> None:
    async def shy(asked: Asked) -> Reply:
        return Reply(exact=b"") if asked.method == "HEAD" else Reply(body=b"ok")

    site = await website({"/": page(links=["{1}/shy"])}, {"/shy": shy})
    result = await check(site.url, *QUICK)
    assert result.exit_code == 0, result.output
    assert [one.method for one in site.log if one.path == "/shy"][-1] == "GET"


async def test_hints_mail_and_telephone_are_no_links(website: Open) -> None:
    head = '<link rel=preconnect href="{1}/p"><link rel=dns-prefetch href="{1}/d">'
    site = await website({"/": page(head=head, links=["mailto:a@b.test", "tel:1"])}, {})
    result = await check(site.url)
    assert (result.exit_code, "checked 1 link," in result.output) == (0, True), result.output


async def test_a_fragment_is_looked_for_where_a_redirect_leads(website: Open) -> None:
    site = await website({"/": page(links=["/old#here", "/old#gone"]), "/old": redirect("/new"),
                          "/new": reply("<p id=here>")})  # fmt: skip
    result = await check(site.url, "--anchors")
    assert result.exit_code == 1
    assert f"no #gone  {site.at('/old')}\n" in result.output
    assert "#here" not in result.output


async def test_a_list_of_statuses_must_be_one() -> None:
    result = await check("http://127.0.0.1:1/", "--accept", "4xx")
    assert (result.exit_code, result.output) == (2, "")
    assert "--accept: '4xx' is not a list of statuses" in result.errors


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
