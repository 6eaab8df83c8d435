"""Who is told what: logins, headers, cookies, certificates, proxies; and where none of it shows."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import socket
import sqlite3
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from conftest import OpenSite
from helpers.crawling import crawl, records, settings
from helpers.website import Asked, Reply, Website, page, redirect

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.config.loader import with_settings
from crawler.config.model import Config, FetchConfig
from crawler.config.redaction import WITHHELD, as_told, split_login, without_secrets
from crawler.errors import ConfigError, FetchError
from crawler.fetch.credentials import Credentials
from crawler.fetch.fetcher import HttpFetcher
from crawler.policy.urls import host_key
from crawler.records import CrawlUrl

PASSWORD = "s3cret-pässword"
LOGIN = "Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode()


def link(url: str) -> CrawlUrl:
    return CrawlUrl(url, host_key(url))


def written(folder: Path) -> bytes:
    """Everything that a crawl left behind."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# ── one origin's secrets stay with it ────────────────────────────────────────────────────────


async def test_secrets_go_to_the_seeds_origin_and_follow_no_link_and_no_redirect(
    tmp_path: Path,
) -> None:
    pages = {"/": page(links=["/in", "{1}/out", "/away"]), "/in": page(), "/away": redirect("{1}/")}
    async with Website(pages, {"/": page(), "/out": page()}) as site:
        seed = site.url.replace("://", "://alice:s3cret-p%C3%A4ssword@")
        config = settings(
            seed, scope="any", private="any", cookies=True,
            headers={"X-Key": "k3y", "Accept-Language": "de"},
        )  # fmt: skip
        await crawl(config, tmp_path)
        own = [asked for asked in site.log if asked.address == "127.0.0.1"]
        other = [asked for asked in site.log if asked.address == "127.0.0.2"]
    assert {asked.headers.get("authorization") for asked in own} == {LOGIN}
    assert {asked.headers.get("x-key") for asked in own} == {"k3y"}
    assert {"/", "/out"} <= {asked.path for asked in other}
    for asked in other:
        assert not {"authorization", "x-key", "cookie", "referer"} & set(asked.headers)
        assert asked.headers["accept-language"] == "de"
    left = written(tmp_path)
    for secret in (PASSWORD.encode(), b"s3cret", b"k3y", LOGIN[6:].encode()):
        assert secret not in left


async def test_logins_in_a_page_s_links_are_nobody_s(tmp_path: Path) -> None:
    async with Website({"/": page()}) as site:
        site.put("/", page(links=[f"http://bob:h0stile@127.0.0.1:{site.port}/x"]))
        await crawl(settings(site.url), tmp_path)
        assert all("authorization" not in asked.headers for asked in site.log)
        assert site.hits["/x"] == 1
    assert b"h0stile" not in written(tmp_path)


async def test_a_resumed_crawl_asks_for_what_was_not_written_down(tmp_path: Path) -> None:
    async with Website({"/": page()}) as site:
        seed = site.url.replace("://", "://alice:pw@")
        await crawl(settings(seed), tmp_path)
        saved = with_settings(None, **_read(tmp_path))
        with pytest.raises(ConfigError, match="--auth"):
            async with open_crawl(saved, dir=tmp_path, mode="resume"):
                pass
        again = with_settings(saved, seeds=(seed,))
        async with open_crawl(again, dir=tmp_path, mode="resume") as running:
            await running.run()


def _read(folder: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415

    tree = tomllib.loads((folder / "crawl.toml").read_text("utf-8"))
    return {"seeds": tree["seeds"], "auth": tree["fetch"]["auth"], "fast": True}


def test_a_configuration_without_secrets_has_the_same_keys() -> None:
    config = with_settings(
        None,
        seeds=("http://a:b@x.example/p",),
        auth={"y.example": "c:d"},
        bearer={"z.example": "t0ken"},
        headers={"Accept": "*/*", "X-Key": "k"},
        host_headers={"h.example": {"Cookie": "id=1"}},
        proxy="http://u:p@proxy.example:3128",
    )
    bare = without_secrets(config)
    assert bare.seeds == ("http://x.example/p",)
    assert bare.fetch.auth == {"y.example": WITHHELD, "http://x.example": WITHHELD}
    assert bare.fetch.bearer == {"z.example": WITHHELD}
    assert bare.fetch.headers == {"Accept": "*/*", "X-Key": WITHHELD}
    assert bare.fetch.host_headers == {"h.example": {"Cookie": WITHHELD}}
    assert bare.fetch.proxy == f"http://{WITHHELD}@proxy.example:3128"
    for key in ("auth", "bearer", "headers", "host_headers", "proxy"):
        with pytest.raises(ConfigError, match="give it again"):
            Credentials(FetchConfig(**{key: getattr(bare.fetch, key)}))


@pytest.mark.parametrize(
    ("url", "bare", "login"),
    [
        ("http://h/", "http://h/", ""),
        ("http://u:p@h/a@b", "http://h/a@b", "u:p"),
        ("http://u@h/", "http://h/", "u:"),
        ("http://u:a%40b@h/", "http://h/", "u:a@b"),
        ("http://u:a@b@h/", "http://h/", "u:a@b"),
        ("http://h/?q=a@b", "http://h/?q=a@b", ""),
        ("http://h?q=a@b", "http://h?q=a@b", ""),
        ("h", "h", ""),
    ],
)
def test_a_login_is_split_from_its_url(url: str, bare: str, login: str) -> None:
    assert split_login(url) == (bare, login)


def test_auth_is_by_host_or_origin() -> None:
    rules = FetchConfig(
        auth={"A.example": "u:p", "b.example:8080": "u:p", "[::1]": "u:p", "d.example:443": "u:p"},
        bearer={"https://c.example": "t"},
    )
    headers = Credentials(rules).headers
    for origin in (
        "http://a.example", "https://a.example", "http://a.example:81", "https://a.example:8443",
        "http://b.example:8080", "https://b.example:8080", "http://[::1]", "http://[::1]:81",
        "https://d.example",
    ):  # fmt: skip
        assert headers(origin)["Authorization"].startswith("Basic ")
    assert headers("https://c.example") == {"Authorization": "Bearer t"}
    for origin in (
        "http://c.example", "http://sub.a.example", "http://b.example", "https://b.example:8081",
        "http://d.example", "https://d.example:4430", "http://[::2]", "https://c.example:444",
        "http://a.example.evil.example",
    ):  # fmt: skip
        assert headers(origin) == {}


def test_what_was_not_asked_for_is_known_as_it_was_written() -> None:
    rules = FetchConfig(
        auth={"A.example": "u:p", "b.example:81": "u:p"},
        bearer={"https://c.example": "t"},
        host_headers={"a.example": {"X-Key": "k"}},
    )
    credentials = Credentials(rules)
    for origin in ("http://b.example", "https://a.example", "http://c.example"):
        credentials.headers(origin)
    assert credentials.unsent == (
        "--auth for b.example:81", "--bearer for https://c.example",
    )  # fmt: skip


def test_netrc_is_for_tls_and_for_its_owner(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine x.example login u password p\n")
    monkeypatch.setenv("NETRC", str(path))
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Credentials(FetchConfig(netrc=True))
    path.chmod(0o600)
    headers = Credentials(FetchConfig(netrc=True)).headers
    assert "Authorization" in headers("https://x.example")
    assert headers("http://x.example") == headers("https://y.example") == {}
    assert Credentials(FetchConfig()).headers("https://x.example") == {}


def test_a_login_for_a_port_goes_before_the_hosts() -> None:
    headers = Credentials(FetchConfig(auth={"a.example": "all:p", "a.example:81": "one:p"})).headers
    both = {origin: headers(origin) for origin in ("http://a.example", "http://a.example:81")}
    assert base64.b64decode(both["http://a.example"]["Authorization"][6:]) == b"all:p"
    assert base64.b64decode(both["http://a.example:81"]["Authorization"][6:]) == b"one:p"


def test_the_default_entry_of_netrc_is_for_seeds(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine x.example login u password p\ndefault login d password q\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    headers = Credentials(FetchConfig(netrc=True), ["https://seed.example/"]).headers
    assert base64.b64decode(headers("https://seed.example")["Authorization"][6:]) == b"d:q"
    assert base64.b64decode(headers("https://x.example:8443")["Authorization"][6:]) == b"u:p"
    assert headers("https://y.example") == headers("http://seed.example") == {}


async def test_a_crawl_that_goes_on_has_its_cookies(
    website: OpenSite, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def member(asked: Asked) -> Reply:
        given = asked.headers.get("cookie", "")
        return Reply(200, given.encode(), (("Set-Cookie", "session=1"),), "text/html")

    site = await website({"/": page(links=["/a", "/b"]), "/a": member, "/b": member})
    for save, kept in ((str(tmp_path / "jar"), True), (None, False)):
        folder = tmp_path / str(kept)
        how = {"cookies": True, "save_cookies": save, "per_host": 1}
        await crawl(settings(site.at("/a"), **how), folder)
        site.log.clear()
        with (
            contextlib.closing(sqlite3.connect(folder / "frontier.db")) as db,
            db,
        ):  # as if it had been stopped
            db.execute("UPDATE link SET state = 0, status = NULL WHERE url LIKE '%/a'")
        db.close()
        caplog.clear()
        await crawl(settings(site.at("/a"), **how), folder, mode="resume")
        (again,) = [asked for asked in site.log if asked.path == "/a"]
        assert (again.headers.get("cookie") == "session=1") == kept
        assert ("--save-cookies FILE keeps them" in caplog.text) != kept


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\0b"])
def test_a_header_cannot_be_smuggled_in(value: str) -> None:
    with pytest.raises(ConfigError, match="control character"):
        Credentials(FetchConfig(headers={"X-A": value}))


# ── cookies ──────────────────────────────────────────────────────────────────────────────────


async def test_a_session_is_kept_only_when_asked_for(tmp_path: Path) -> None:
    async def home(_: Asked) -> Reply:
        return Reply(body=b"<a href=/in>", headers=(("Set-Cookie", "session=abc"),))

    for wanted in (False, True):
        folder = tmp_path / str(wanted)
        out = tmp_path / "out.txt"
        async with Website({"/": home, "/in": page()}) as site:
            saving = {"save_cookies": str(out)} if wanted else {}
            await crawl(settings(site.url, **saving), folder)
            (asked,) = [one for one in site.log if one.path == "/in"]
        assert asked.headers.get("cookie") == ("session=abc" if wanted else None)
        assert out.exists() is wanted


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────

AUTHORITY = trustme.CA()
YESTERDAY = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)


@contextlib.asynccontextmanager
async def tls_server(
    certificate: trustme.LeafCert, seen: list[object] | None = None, **versions: Any
) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name, value in versions.items():
        setattr(context, name, value)
    certificate.configure_cert(context)
    if seen is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        AUTHORITY.configure_trust(context)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            if seen is not None:
                seen.append(writer.get_extra_info("peercert"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


@pytest.fixture
def ca(tmp_path: Path) -> str:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def fetcher(tmp_path: Path, *seeds: str, **rules: Any) -> HttpFetcher:
    config = FetchConfig(**rules)
    return HttpFetcher(
        config, slots=4, user_agent="t", spool=tmp_path, credentials=Credentials(config, seeds)
    )


@pytest.mark.parametrize(
    ("certificate", "detail"),
    [
        (AUTHORITY.issue_cert("127.0.0.1", not_after=YESTERDAY), "expired"),
        (trustme.CA().issue_cert("127.0.0.1"), "certificate"),
        (AUTHORITY.issue_cert("other.example"), "mismatch"),
    ],
    ids=["expired", "unknown authority", "wrong host"],
)
async def test_tls_that_proves_nothing_is_refused_unless_told_otherwise(
    certificate: trustme.LeafCert, detail: str, ca: str, tmp_path: Path
) -> None:
    async with tls_server(certificate) as url:
        async with fetcher(tmp_path, ca_certificate=ca) as fetch:
            with pytest.raises(FetchError, match=detail) as caught:
                await fetch.fetch(link(url))
            assert caught.value.reason == "tls"
        async with fetcher(tmp_path, insecure=True) as fetch:
            assert (await fetch.fetch(link(url))).body == b"ok"


async def test_an_authority_of_one_s_own_is_trusted(ca: str, tmp_path: Path) -> None:
    trusting = fetcher(tmp_path, ca_certificate=ca)
    async with tls_server(AUTHORITY.issue_cert("127.0.0.1")) as url, trusting as fetch:
        timings = (await fetch.fetch(link(url))).timings
    assert timings.connect is not None
    assert 0 < timings.connect <= timings.total


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
async def test_protocols_of_the_last_century_are_refused(ca: str, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)

    def talk(line: socket.socket) -> None:  # blocking: asyncio's server sends no alert
        line.settimeout(10)
        with contextlib.suppress(OSError):
            context.wrap_socket(line, server_side=True).close()
        line.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        serving = asyncio.create_task(asyncio.to_thread(lambda: talk(server.accept()[0])))
        async with fetcher(tmp_path, ca_certificate=ca) as fetch:
            with pytest.raises(FetchError) as caught:
                await fetch.fetch(link(f"https://127.0.0.1:{server.getsockname()[1]}/"))
        await serving
    assert caught.value.reason == "tls"


async def test_http_on_a_tls_port_and_tls_on_a_http_port(tmp_path: Path) -> None:
    async with Website({"/": page()}) as site, fetcher(tmp_path, connect_timeout=0.5) as fetch:
        with pytest.raises(FetchError) as caught:
            await fetch.fetch(link(site.url.replace("http:", "https:")))
        assert (caught.value.reason, caught.value.detail) == ("timeout", "connect")
    async with tls_server(AUTHORITY.issue_cert("127.0.0.1")) as url, fetcher(tmp_path) as fetch:
        with pytest.raises(FetchError) as caught:
            await fetch.fetch(link(url.replace("https:", "http:")))
        assert caught.value.reason in {"garbled", "connection"}


async def test_our_certificate_is_shown_to_the_seeds_origins_alone(ca: str, tmp_path: Path) -> None:
    ours = AUTHORITY.issue_cert("client.example")
    ours.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    rules = {"ca_certificate": ca, "certificate": str(tmp_path / "client.pem")}
    certificate = AUTHORITY.issue_cert("127.0.0.1")
    for own in (True, False):
        seen: list[object] = []
        async with tls_server(certificate, seen) as url:
            seed = url if own else "https://other.example/"
            async with fetcher(tmp_path, seed, **rules) as fetch:
                await fetch.fetch(link(url))
        assert bool(seen[0]) is own


@pytest.mark.parametrize("key", ["ca_certificate", "certificate"])
async def test_a_file_that_holds_no_certificate_is_named(key: str, tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    for name, said in (("x.pem", ""), ("missing.pem", "No such file")):
        with pytest.raises(ConfigError, match=f"fetch.{key}.*{name}.*{said}"):
            async with fetcher(tmp_path, **{key: str(tmp_path / name)}):
                pass


# ── proxies ──────────────────────────────────────────────────────────────────────────────────


class Socks:
    """A SOCKS5 proxy (RFC 1928, RFC 1929) that connects to one place whatever it is asked for."""

    def __init__(self, port: int) -> None:
        self.asked: list[tuple[str, str]] = []  # login, target
        self._port = port

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        await reader.readexactly(count)
        writer.write(b"\5\2")
        _, length = await reader.readexactly(2)
        user = await reader.readexactly(length)
        (length,) = await reader.readexactly(1)
        login = f"{user.decode()}:{(await reader.readexactly(length)).decode()}"
        writer.write(b"\1\0")
        kind = (await reader.readexactly(4))[3]
        length = 4 if kind == 1 else (await reader.readexactly(1))[0]
        host = (await reader.readexactly(length)).decode("latin-1")
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append((login, f"{host}:{port}"))
        writer.write(b"\5\0\0\1\0\0\0\0\0\0")
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        back.write(await reader.readuntil(b"\r\n\r\n"))
        head = await there.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        writer.write(head + await there.readexactly(length))
        await writer.drain()
        back.close()
        writer.close()


async def test_socks5_and_its_login_stays_out_of_what_is_written(tmp_path: Path) -> None:
    async with Website({"/": page(title="behind")}) as site:
        socks = Socks(site.port)
        server = await asyncio.start_server(socks.talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        proxy = f"socks5://carol:pr0xy@127.0.0.1:{port}"
        await crawl(settings("http://name.example/", proxy=proxy, obey=False), tmp_path)
        server.close()
    assert socks.asked == [("carol:pr0xy", "name.example:80")]
    (line,) = records(tmp_path)
    assert (line["title"], line["ip"]) == ("behind", None)
    assert b"pr0xy" not in written(tmp_path)


async def test_http_proxies_get_their_login_and_a_failure_does_not_show_it(tmp_path: Path) -> None:
    async with Website({}) as proxy:
        at = f"http://carol:pr0xy@127.0.0.1:{proxy.port}"
        await crawl(settings("http://name.example/", proxy=at, obey=False), tmp_path / "a")
        (asked,) = proxy.log
        assert asked.headers["proxy-authorization"].startswith("Basic ")
        assert asked.path == "http://name.example/"
    gone = settings("https://name.example/", proxy=at, obey=False, retries=0)
    await crawl(gone, tmp_path / "b")
    (line,) = records(tmp_path / "b")
    assert line["reason"].startswith("connection")
    assert b"pr0xy" not in written(tmp_path)


async def test_behind_a_proxy_a_private_address_in_a_url_is_refused(tmp_path: Path) -> None:
    async with Website({}) as proxy:
        target = "http://169.254.169.254/"
        config = settings(
            "http://name.example/", proxy=f"http://127.0.0.1:{proxy.port}", scope="any",
            contact="me@name.example",
            obey=False, retries=0,
        )  # fmt: skip
        proxy.put("http://name.example/", page(links=[target]))
        await crawl(config, tmp_path)
        assert [asked.path for asked in proxy.log] == ["http://name.example/"]
    assert "link-local" in next(
        line["reason"] for line in records(tmp_path) if line["url"] == target
    )


@pytest.mark.parametrize(
    "proxy", ["ftp://x/", "127.0.0.1:80", "http://", "socks4://x:1", "http://x:y"]
)
async def test_a_proxy_that_is_none_is_named_without_its_login(proxy: str, tmp_path: Path) -> None:
    config = settings("http://x.example/", proxy=proxy.replace("://", "://u:pr0xy@", 1))
    with pytest.raises(ConfigError, match=r"fetch\.proxy") as caught:
        async with open_crawl(config, dir=tmp_path):
            pass
    assert "pr0xy" not in str(caught.value)


def test_the_configuration_shown_to_the_world_is_still_one() -> None:
    assert without_secrets(Config()) == Config()


# ── the command line ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "command", [("crawl", "-vv"), ("fetch", "--insecure"), ("crawl", "--print-config")]
)
async def test_no_secret_is_said(command: tuple[str, str], tmp_path: Path) -> None:
    async with Website({"/": page(status=500)}) as site:
        seed = site.url.replace("://", "://alice:s3cret@")
        arguments = [*command, seed, "-H", "X-Key: k3y-k3y", "--auth", "x.example=bob:s3cret"]
        if command[0] == "crawl":
            arguments += ["-O", str(tmp_path / "crawl"), "--fast", "-t", "0"]
        crawler = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "crawler", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(30):
            said, _ = await crawler.communicate()
        if command[1] != "--print-config":
            assert any("authorization" in asked.headers for asked in site.log), said
    assert said
    for secret in (b"s3cret", b"k3y-k3y", base64.b64encode(b"alice:s3cret")):
        assert secret not in said


def test_an_archive_keeps_no_secret() -> None:
    sent = [("Host", "a.test"), ("Authorization", "Basic eA=="), ("Cookie", "sid=1"),
            ("If-None-Match", '"x"'), ("X-Key", "y")]  # fmt: skip
    assert as_told(sent) == (
        ("Host", "a.test"), ("Authorization", "***"), ("Cookie", "***"),
        ("If-None-Match", '"x"'), ("X-Key", "***"),
    )  # fmt: skip
