"""Proxies that the environment names: which, for whom, by whom they are taken."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import OpenSite
from helpers.commands import crawler as process
from helpers.crawling import crawl, records, settings
from helpers.website import page

from crawler.config.model import Config, FetchConfig
from crawler.config.proxy_env import goes_without, proxies_in
from crawler.config.redaction import demand_secrets, without_secrets
from crawler.errors import ConfigError
from crawler.fetch.proxy import Proxies

QUICK = ("--fast", "--no-robots", "--no-report", "-t", "0", "-s", "parse.processes=1", "-q")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*os.environ,):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("environ", "proxies", "without"),
    [
        ({}, {}, ()),
        ({"no_proxy": "a"}, {}, ()),
        ({"http_proxy": "http://p:1"}, {"http": "http://p:1"}, ()),
        ({"HTTP_PROXY": "http://p:1"}, {}, ()),
        ({"http_proxy": "p:1"}, {"http": "http://p:1"}, ()),
        ({"http_proxy": " "}, {}, ()),
        ({"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:1"}, {"https": "http://p:1"}, ()),
        ({"https_proxy": "", "HTTPS_PROXY": "http://q:1"}, {"https": "http://q:1"}, ()),
        ({"ALL_PROXY": "socks5://p:1", "no_proxy": "a,b c , d", "NO_PROXY": "x"},
         {"all": "socks5://p:1"}, ("a", "b", "c", "d")),
    ],
)  # fmt: skip
def test_variables_mean_what_they_mean_to_curl(
    environ: Mapping[str, str], proxies: dict[str, str], without: tuple[str, ...]
) -> None:
    assert proxies_in(environ)[:2] == (proxies, without)


@pytest.mark.parametrize(
    ("entry", "goes", "not_"),
    [
        ("*", "a.example:80 1.2.3.4:80", ""),
        ("example.com", "example.com:80 a.example.com:443 example.com.:80", "notexample.com:80"),
        (".example.com", "example.com:80 a.example.com:80", "example.org:80"),
        ("*.example.com", "a.example.com:80", "example.org:80"),
        ("EXAMPLE.com.", "example.com:80", ""),
        ("example.com:8080", "a.example.com:8080", "a.example.com:80"),
        ("1.2.3.4", "1.2.3.4:80", "1.2.3.40:80 11.2.3.4:80"),
        ("1.2.3.4:81", "1.2.3.4:81", "1.2.3.4:80"),
        ("10.0.0.0/8", "10.1.2.3:80", "11.0.0.1:80 a10.0.0.0:80"),
        ("10.1.2.3/8", "10.200.0.1:80", ""),
        ("::1", "[::1]:80", "[::2]:80"),
        ("[::1]:81", "[::1]:81", "[::1]:80"),
        ("fd00::/8", "[fd12::1]:80", "[fe80::1]:80 10.0.0.1:80"),
        ("localhost", "localhost:80 a.localhost:80", "127.0.0.1:80"),
        ("10.", "", "10.1.2.3:80"),
        ("", "", "example.com:80"),
    ],
)
def test_who_goes_without(entry: str, goes: str, not_: str) -> None:
    def told(places: str) -> set[bool]:
        pairs = (place.rpartition(":") for place in places.split())
        return {goes_without(host.strip("[]"), int(port), ["zz", entry]) for host, _, port in pairs}

    assert told(goes) <= {True}
    assert told(not_) <= {False}


def test_each_scheme_has_its_proxy() -> None:
    rules = FetchConfig(
        scheme_proxies={"http": "http://p:1", "all": "http://q:2"}, no_proxy=("in.test",)
    )
    proxies = Proxies(rules)

    def way(origin: str) -> str | None:
        proxy = proxies.of(origin)
        return proxy.url if proxy else None

    assert way("http://a.test") == "http://p:1"
    assert way("https://a.test:8443") == "http://q:2"
    assert way("https://x.in.test") is None
    everything = Proxies(FetchConfig(proxy="http://one:3", scheme_proxies={"http": "http://p:1"}))
    assert [one.url for one in everything.all] == ["http://one:3"]
    with pytest.raises(ConfigError, match=r"http_proxy.*expected http://") as caught:
        Proxies(FetchConfig(scheme_proxies={"http": "gopher://carol:pr0xy@p"}))
    assert "pr0xy" not in str(caught.value)


def test_their_logins_are_not_written_down() -> None:
    config = Config(fetch=FetchConfig(scheme_proxies={"http": "http://carol:pr0xy@p:1"}))
    bare = without_secrets(config).fetch
    assert bare.scheme_proxies == {"http": "http://***@p:1"}
    with pytest.raises(
        ConfigError, match=r"fetch\.scheme_proxies for http.*http_proxy=… in the env"
    ):
        demand_secrets(bare)


async def test_the_command_line_takes_them_and_says_where_they_are_from(
    website: OpenSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await website({"http://name.example/": page(links=["/2"]),
                           "http://name.example/2": page()}, {"/": page()})  # fmt: skip
    own = proxy.at("/", 1)
    monkeypatch.setenv("http_proxy", f"http://carol:pr0xy@127.0.0.1:{proxy.port}")
    monkeypatch.setenv("no_proxy", "127.0.0.2")
    folder = tmp_path / "crawl"
    where = ("http://name.example/", own, "--contact", "me@name.example", "-O", str(folder))
    told = await process("crawl", *where, *QUICK, "--max-pages", "2")
    assert told.code == 0, told.err
    assert {line["outcome"] for line in records(folder)} == {"done"}
    asked = {one.path: one for one in proxy.log}
    assert asked["/"].address == "127.0.0.2", "it is reached without"
    assert asked["http://name.example/"].headers["proxy-authorization"].startswith("Basic ")
    written = (folder / "crawl.toml").read_text()
    fetch = tomllib.loads(written)["fetch"]
    assert fetch["scheme_proxies"] == {"http": f"http://***@127.0.0.1:{proxy.port}"}
    assert "pr0xy" not in written
    shown = await process("crawl", "--print-config")
    assert f'{{http = "http://***@127.0.0.1:{proxy.port}"}}  # http_proxy, no_proxy' in shown.out
    # Going on it takes today's, and says so where there is none for a login it did not keep.
    assert (await process("resume", str(folder), *QUICK, "--max-pages", "9")).code == 0
    assert "http://name.example/2" in {one.path for one in proxy.log}
    monkeypatch.delenv("http_proxy")
    told = await process("resume", str(folder), "-q")
    assert (told.code, "http_proxy=… in the environment" in told.err) == (2, True)
    assert (await process("resume", str(folder), "-q", "--no-proxy")).code == 0


async def test_who_wants_none_or_another_gets_that(
    website: OpenSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await website({"/": page(), "http://name.example/": page()}, {})
    monkeypatch.setenv("http_proxy", "http://127.0.0.2:9")
    for number, flags in enumerate(
        ((site.url, "--no-proxy"), ("http://name.example/", "--proxy", site.url.rstrip("/")))
    ):
        folder = tmp_path / str(number)
        assert (await process("crawl", *flags, "-O", str(folder), *QUICK)).code == 0
        assert records(folder)[0]["outcome"] == "done"


async def test_the_library_and_the_service_never_look(
    website: OpenSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await website({"/": page()})
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await crawl(settings(site.url), tmp_path)
    assert records(tmp_path)[0]["outcome"] == "done"
