"""Cookies: what a Set-Cookie means, where it goes, and what is read from and written to files.

The table stands for the public tests of RFC 6265 (http-state) and of browsers (web-platform-tests),
told anew; where they differ, as on cookies without a name, it goes by RFC 6265bis as browsers do.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from helpers.crawling import crawl, settings
from helpers.website import Asked, Reply, Website, page
from hypothesis import given
from hypothesis import strategies as st

from crawler.errors import ConfigError, SinkError
from crawler.fetch.cookie_jar import MOST, MOST_IN_ALL, CookieJar
from crawler.fetch.cookies import default_path, path_matches
from crawler.fetch.cookies_txt import load_cookies, save_cookies
from crawler.fetch.headers import with_cookies
from crawler.utils.dates import cookie_date, http_date

NOW = 1_500_000_000.0  # 14 July 2017
LONG = "y" * 4095
OFF = "x" * 1025


def jar_after(url: str, *headers: str) -> CookieJar:
    jar = CookieJar(clock=lambda: NOW)
    jar.take(headers, url)
    return jar


def sent(jar: CookieJar, url: str) -> str:
    return "; ".join(one.pair for one in jar.cookies(url))


# ── one Set-Cookie ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("headers", "line"),
    [
        # names and values
        (["a=b"], "a=b"),
        (["  a  =  b c  ; x"], "a=b c"),
        (["\ta\t=\tb\t;"], "a=b"),
        (["a==b="], "a==b="),
        (["a="], "a="),
        (['a="b c"'], 'a="b c"'),
        (['a=" b ;c"'], 'a=" b'),
        (['a=b"c'], 'a=b"c'),
        (['"a"=b'], '"a"=b'),
        (["a b=c"], "a b=c"),
        (["a=1, b=2"], "a=1, b=2"),
        (["a=%31"], "a=%31"),
        (["æ=ø"], "æ=ø"),
        (["a=1", "b=2"], "a=1; b=2"),
        (["b=2", "a=1"], "b=2; a=1"),
        (["a=1", "b=2", "a=3"], "a=3; b=2"),
        (["A=1", "a=2"], "A=1; a=2"),
        # without a name
        (["a"], "a"),
        (["=a"], "a"),
        (["==a"], "=a"),
        (["a", "b"], "b"),
        (["a=1", "=", "", "  ", "\t", ";x", "=;x"], "a=1"),
        # controls and lengths
        (["a=b\0c"], ""),
        (["a=b\nc"], ""),
        (["a=b; \x7f"], ""),
        (["a=b\tc"], "a=b\tc"),
        ([f"a={LONG}"], f"a={LONG}"),
        ([f"ab={LONG}"], ""),
        # attributes
        (['a=b;;;; =;, ; x; version=1; q="1;2"'], "a=b"),
        (['a=b; "Secure"'], "a=b"),
        (["a=b; Secure x"], "a=b"),
        (["a=b; SECURE"], ""),
        (["a=b; secure=no"], ""),
        (["a=b; Max-Age=10"], "a=b"),
        (["a=b; Max-Age=0"], ""),
        (["a=b; max-age=-1"], ""),
        (["a=b; Max-Age=1,0"], "a=b"),
        (["a=b; Max-Age="], "a=b"),
        (["a=b; Max-Age=99999999999999999999"], "a=b"),
        (["a=b", "a=c; Max-Age=0"], ""),
        (["a=b; Max-Age=0; Max-Age=9"], "a=b"),
        (["a=b; Expires=Fri, 07 Aug 2007 08:04:19 GMT"], ""),
        (["a=b; Expires=Fri, 07 Aug 2026 08:04:19 GMT"], "a=b"),
        (["a=b; Expires=soon"], "a=b"),
        (["a=b; Max-Age=9; Expires=Fri, 07 Aug 2007 08:04:19 GMT"], "a=b"),
        (["a=b; Expires=Fri, 07 Aug 2026 08:04:19 GMT; Max-Age=0"], ""),
        # paths
        (["a=b; Path=/"], "a=b"),
        (["a=b; Path=/d"], "a=b"),
        (["a=b; Path=/d/"], "a=b"),
        (["a=b; Path=/D"], ""),
        (["a=b; Path=/d/p"], "a=b"),
        (["a=b; Path=/d/p/"], ""),
        (["a=b; Path=/d/pa"], ""),
        (["a=b; Path=d"], "a=b"),
        (["a=b; Path="], "a=b"),
        (["a=b; Path=/x; Path=/d"], "a=b"),
        (["a=b; Path=/x; Path"], "a=b"),
        ([f"a=b; Path=/d; Path=/{OFF}"], "a=b"),
        (["a=1; Path=/", "a=2; Path=/d", "b=3; Path=/", "a=4; Path=/d/p"],
         "a=4; a=2; a=1; b=3"),
        # domains
        (["a=b; Domain=h.example.com"], "a=b"),
        (["a=b; Domain=.H.Example.COM"], "a=b"),
        (["a=b; Domain=example.com"], "a=b"),
        (["a=b; Domain=..example.com"], ""),
        (["a=b; Domain=example.com."], ""),
        (['a=b; Domain="example.com"'], ""),
        (["a=b; Domain=example.com:80"], ""),
        (["a=b; Domain=x.h.example.com"], ""),
        (["a=b; Domain=ample.com"], ""),
        (["a=b; Domain=com"], ""),
        (["a=b; Domain=other.com; Domain=example.com"], "a=b"),
        (["a=b; Domain=other.com; Domain="], "a=b"),
        ([f"a=b; Domain=example.com; Domain={OFF}.com"], "a=b"),
        (["a=1; Domain=example.com", "a=2"], "a=1; a=2"),
    ],
)  # fmt: skip
def test_what_comes_back_to_the_folder_it_was_set_in(headers: list[str], line: str) -> None:
    assert sent(jar_after("http://h.example.com/d/p", *headers), "http://h.example.com/d/p") == line


@pytest.mark.parametrize(
    ("origin", "header", "goes_to", "stays_from"),
    [
        ("http://a.example.com/", "x=1", ["http://a.example.com/z"],
         ["http://b.example.com/", "http://example.com/", "http://z.a.example.com/"]),
        ("http://a.example.com/", "x=1; Domain=example.com",
         ["http://b.example.com/", "http://example.com/"], ["http://evilexample.com/"]),
        ("http://a.example.com:8080/", "x=1", ["http://a.example.com/", "http://a.example.com:81/"],
         []),
        ("http://a.co.uk/", "x=1; Domain=co.uk", [], ["http://a.co.uk/", "http://b.co.uk/"]),
        ("http://a.example/", "x=1; Domain=example", [], ["http://b.example/"]),
        ("http://me.github.io/", "x=1; Domain=github.io", [], ["http://you.github.io/"]),
        ("http://github.io/", "x=1; Domain=github.io", ["http://github.io/"],
         ["http://you.github.io/"]),
        ("http://localhost/", "x=1; Domain=localhost", ["http://localhost/"],
         ["http://a.localhost/"]),
        ("http://a.example.com/", "x=1; Domain=other.com", [], ["http://other.com/"]),
        ("http://127.0.0.1/", "x=1; Domain=0.0.1", [], ["http://127.0.0.1/"]),
        ("http://127.0.0.1/", "x=1; Domain=127.0.0.1", ["http://127.0.0.1:81/"], []),
        ("http://127.0.0.1/", "x=1", ["http://127.0.0.1/"], ["http://127.0.0.2/"]),
        ("http://[::1]:80/", "x=1", ["http://[::1]/"], ["http://[::2]/"]),
        ("https://a.example.com/", "x=1; Secure", ["https://a.example.com/"],
         ["http://a.example.com/"]),
        ("http://a.example.com/", "x=1; Secure", [], ["https://a.example.com/"]),
        ("http://a.example.com/d/e", "x=1", ["http://a.example.com/d/f", "http://a.example.com/d"],
         ["http://a.example.com/", "http://a.example.com/dd"]),
        ("http://a.example.com/d?e=/f/g", "x=1", ["http://a.example.com/"], []),
        ("http://a.example.com/", "x=1; Path=/p", ["http://a.example.com/p/q",
         "http://a.example.com/p?q"], ["http://a.example.com/pq"]),
        ("https://a.example.com/", "__Host-x=1; Secure; Path=/", ["https://a.example.com/"], []),
        ("https://a.example.com/", "__hOST-x=1; Secure; Path=/; Domain=example.com", [],
         ["https://a.example.com/", "https://example.com/"]),
        ("https://a.example.com/", "__Host-x=1; Secure; Path=/p", [], ["https://a.example.com/p"]),
        ("https://a.example.com/", "__Host-x=1; Secure", [], ["https://a.example.com/"]),
        ("http://a.example.com/", "__Host-x=1; Path=/", [], ["http://a.example.com/"]),
        ("https://a.example.com/", "__Secure-x=1", [], ["https://a.example.com/"]),
        ("https://a.example.com/", "__Secure-x=1; Secure; Domain=example.com",
         ["https://b.example.com/"], []),
        ("https://a.example.com/", "=__Secure-x=1; Secure", [], ["https://a.example.com/"]),
    ],
)  # fmt: skip
def test_where_a_cookie_goes(
    origin: str, header: str, goes_to: list[str], stays_from: list[str]
) -> None:
    jar = jar_after(origin, header)
    assert all(sent(jar, url) for url in goes_to)
    assert not any(sent(jar, url) for url in stays_from)


def test_a_secure_cookie_is_not_overwritten_from_http() -> None:
    """Nor hidden by one that goes to some of the same requests (RFC 6265bis §5.7)."""
    jar = jar_after("https://a.example.com/", "x=safe; Secure; Domain=example.com; Path=/d")
    for header in ("x=1; Domain=example.com; Path=/d", "x=2; Path=/d/e", "x=3; Path=/d"):
        jar.take([header], "http://a.example.com/d/")
    assert sent(jar, "https://a.example.com/d/e") == "x=safe"
    jar.take(["x=4; Path=/", "y=5; Path=/d"], "http://a.example.com/")
    assert sent(jar, "https://a.example.com/d/e") == "x=safe; y=5; x=4"
    jar.take(["x=new; Secure; Domain=example.com; Path=/d"], "https://b.example.com/")
    assert sent(jar, "https://a.example.com/d") == "x=new; y=5; x=4"
    jar.take(["x=; Domain=example.com; Path=/d; Max-Age=0"], "https://b.example.com/")
    jar.take(["x=6; Path=/d"], "http://a.example.com/")
    assert sent(jar, "http://a.example.com/d") == "y=5; x=6; x=4", "it is gone, nothing protects it"


def test_a_cookie_ends_when_its_time_comes() -> None:
    now = NOW
    jar = CookieJar(clock=lambda: now)
    jar.take(["a=1; Max-Age=10", "b=2"], "http://h.example.com/")
    now += 9.5
    assert sent(jar, "http://h.example.com/") == "a=1; b=2"
    now += 1
    assert sent(jar, "http://h.example.com/") == "b=2"
    assert [one.name for one in jar] == ["b"]


def test_a_jar_is_bounded_and_keeps_what_is_used() -> None:
    jar = CookieJar()
    jar.take(["used=1"], "http://first.example.com/")
    for number in range(400):
        jar.take([f"c{each}=1" for each in range(60)], f"http://h{number}.example.com/")
        assert sent(jar, "http://first.example.com/") == "used=1"
    assert len(jar) <= MOST_IN_ALL
    jar.take((f"c{each}=1" for each in range(900)), "http://flood.example.com/")
    for each in range(900):
        jar.take([f"d{each}=1"], "http://flood.example.com/")
    assert len(jar.cookies("http://flood.example.com/")) == MOST


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_whatever_is_set_comes_back_in_one_line_or_not_at_all(header: str) -> None:
    jar = jar_after("https://a.example.com/", header)
    for one in jar.cookies("https://a.example.com/"):
        assert one.name in header
        assert one.value in header
        assert not set("\r\n\0;") & set(one.pair)


@given(st.text("/ab", max_size=6), st.text("/ab", max_size=6))
def test_a_cookie_goes_back_to_the_page_that_set_it(folder: str, below: str) -> None:
    path = f"/{folder}"
    assert path_matches(path, default_path(path))
    assert path_matches(f"{path}/{below}", path)


# ── dates ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777), ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        ("Sun Nov  6 08:49:37 1994", 784111777), ("6 November 1994 8:49:37", 784111777),
        ("1994 Nov 06 08:49:37", 784111777), ("08:49:37 06-novEMBER-1994 +0700", 784111777),
        ("Sun, 06 Nov 1994 08:49:37.123 PST", 784111777), ("06 Nov 69 08:49:37", 3150953377),
        ("06 Nov 70 08:49:37", 26729377), ("06 Nov 1994", None), ("06 Nov 1994 25:00:00", None),
        ("06 Nov 1994 08:60:00", None), ("06 Nov 1994 08: 49:37", None), ("", None),
        ("31 Feb 1994 08:49:37", None), ("06 Nov 1600 08:49:37", None), ("Nov 1994 08:49:37", None),
        ("006 Nov 1994 08:49:37", None), ("06 Nov 19941 08:49:37", None),
    ],
)  # fmt: skip
def test_expires_is_read_as_browsers_read_it(date: str, moment: float | None) -> None:
    assert cookie_date(date) == moment


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_a_date_in_a_header_is_gmt_wherever_we_are(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time  # noqa: PLC0415 - its zone is set for this test

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for date in (
            "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 09:49:37 +0100",
            "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 -0000",
        ):  # fmt: skip
            assert http_date(date) == 784111777, date
    finally:
        monkeypatch.undo()
        time.tzset()
    assert http_date("soon") is None
    assert http_date("Sun, 99 Zzz 1994 08:49:37 GMT") is None


# ── files ────────────────────────────────────────────────────────────────────────────────────────

LATER = str(int(NOW) + 1000)


def read(
    folder: Path, *lines: str, head: str = "# Netscape HTTP Cookie File\n"
) -> tuple[CookieJar, str]:
    path = folder / "cookies.txt"
    path.write_bytes((head + "".join(f"{line}\n" for line in lines)).encode())
    jar = CookieJar(clock=lambda: NOW)
    return jar, load_cookies(path, jar, NOW)


def test_files_of_curl_wget_and_browsers_are_read(tmp_path: Path) -> None:
    jar, left = read(
        tmp_path,
        "h.example.com\tFALSE\t/\tFALSE\t0\tcurl\t1",
        "#HttpOnly_.example.com\tTRUE\t/\tFALSE\t0\tweb\t2",
        f"h.example.com:8080\tFALSE\t/\tFALSE\t{LATER}\twget\t3",
        f".example.com\tTRUE\t/\ttrue\t{LATER}.25\texport\t4",
        "h.example.com\tFALSE\t/\tFALSE\t\tnone\t",
        "h.example.com\tFALSE\t/p\tFALSE\t-1\tshort",
        "h.example.com\tFALSE\t/\tFALSE\t99999999999999999999\tlong\té",
        "# a remark", "", "[::1]:80\tFALSE\t/\tFALSE\t0\tsix\t6",
    )  # fmt: skip
    assert not left
    line = "curl=1; web=2; wget=3; none=; long=é"
    assert sent(jar, "http://h.example.com/") == line.encode().decode("latin-1")
    assert "export=4" in sent(jar, "https://h.example.com/")
    assert sent(jar, "http://h.example.com/p").startswith("short=; ")
    assert sent(jar, "http://b.example.com/") == "web=2"
    assert sent(jar, "http://[::1]:81/") == "six=6"


@pytest.mark.parametrize("head", ["", "\ufeff# HTTP Cookie File\r\n", "# HTTP cookie file.\n"])
def test_the_first_line_matters_to_nobody(head: str, tmp_path: Path) -> None:
    jar, left = read(tmp_path, "h.example.com\tFALSE\t/\tFALSE\t0\ta\tb\r", head=head)
    assert (sent(jar, "http://h.example.com/"), left) == ("a=b", "")


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    jar, left = read(
        tmp_path, "h.example.com\tFALSE\t/\tFALSE\t0\ta\tb", "h.example.com FALSE / FALSE 0 c d",
        "h.example.com\tFALSE\t/\tFALSE\t1\told\t1", "h.example.com\tFALSE\t/\tFALSE\tsoon\tx\t1",
        "h.example.com\tmaybe\t/\tFALSE\t0\tx\t1", "\tFALSE\t/\tFALSE\t0\tx\t1",
    )  # fmt: skip
    assert sent(jar, "http://h.example.com/") == "a=b"
    assert left == "5 lines left out (4 no cookie, 1 expired)"


def test_a_person_s_cookies_are_all_taken(tmp_path: Path) -> None:
    lines = [f"h{n}.example.com\tFALSE\t/\tFALSE\t0\ta\tb" for n in range(MOST_IN_ALL + 500)]
    jar, left = read(tmp_path, *lines)
    assert (len(jar), left) == (MOST_IN_ALL + 500, "")
    jar.take(["c=d"], "http://other.example.com/")
    assert len(jar) == MOST_IN_ALL + 501


def test_cookies_survive_a_file(tmp_path: Path) -> None:
    headers = (
        "s=1; Secure; HttpOnly", "t=3; Max-Age=1000", "d=2; Domain=example.com; Path=/",
        'q="é a"', "tab=\tx\ty", "alone",
    )  # fmt: skip
    jar = jar_after("https://a.example.com/p/", *headers)
    path = tmp_path / "cookies.txt"
    assert save_cookies(path, jar) == "1 cookie left out: a tab in it"
    assert path.stat().st_mode & 0o077 == 0
    assert path.read_text("latin-1").startswith("# Netscape HTTP Cookie File")
    again = CookieJar(clock=lambda: NOW)
    assert load_cookies(path, again, NOW) == ""
    assert [one.pair for one in again] == [one.pair for one in jar if one.name != "tab"]
    for url in ("https://a.example.com/p/x", "http://a.example.com/p/x", "https://b.example.com/"):
        assert {(one.pair, one.expires, one.http_only) for one in again.cookies(url)} == {
            (one.pair, one.expires, one.http_only) for one in jar.cookies(url) if one.name != "tab"
        }
    with pytest.raises(SinkError, match="No such file"):
        save_cookies(tmp_path / "none" / "c.txt", jar)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    for text in ("no cookies here\n", '[{"name": "a"}]', "<html>"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"cookies\.txt: not a Netscape cookie file"):
            load_cookies(path, CookieJar())
    with pytest.raises(ConfigError, match="No such file"):
        load_cookies(tmp_path / "missing", CookieJar())
    path.write_text("")
    assert load_cookies(path, CookieJar()) == "", "a session that set nothing left it"


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
async def test_curl_reads_what_we_write_and_we_what_it_writes(tmp_path: Path) -> None:
    said = ("plain=1", 'quoted="a b"; HttpOnly', "lasting=2; Max-Age=1000", "deep=3; Path=/deep")
    headers = [("Set-Cookie", each) for each in said]

    async def home(_: Asked) -> Reply:
        return Reply(headers=tuple(headers))

    async def curl(*arguments: str) -> None:
        child = await asyncio.create_subprocess_exec("curl", "-sS", "-m", "20", *arguments,
                                                     stdout=asyncio.subprocess.DEVNULL)  # fmt: skip
        assert await child.wait() == 0

    ours, theirs = tmp_path / "ours.txt", tmp_path / "theirs.txt"
    async with Website({"/": home, "/deep/x": page(), "/deep/y": page()}) as site:
        await crawl(settings(site.url, obey=False, save_cookies=str(ours)), tmp_path / "a")
        await curl("-b", str(ours), site.at("/deep/x"))
        await curl("-c", str(theirs), site.url)
        seed = site.at("/deep/y")
        await crawl(settings(seed, obey=False, load_cookies=str(theirs)), tmp_path / "b")
        lines = [set(one.headers["cookie"].split("; ")) for one in site.log if "deep" in one.path]
    assert lines == [{"plain=1", 'quoted="a b"', "lasting=2", "deep=3"}] * 2


# ── the whole way ────────────────────────────────────────────────────────────────────────────────


def test_cookies_that_a_person_names_go_along_unless_the_site_renewed_them() -> None:
    jar = jar_after("http://h.example.com/", "a=site")
    given, own = with_cookies(
        jar.cookies("http://h.example.com/"),
        {"cookie": "a=mine; b=ä", "X-Key": "k"},
        {"Cookie": "wall=1", "Range": "bytes=0-"},
    )
    assert given == {"X-Key": "k"}
    assert own == {"Cookie": "a=site; b=ä; wall=1", "Range": "bytes=0-"}
    assert with_cookies([], {"X": "y"}, {}) == ({"X": "y"}, {})


async def test_octets_come_back_as_they_were_sent(tmp_path: Path) -> None:
    async def home(_: Asked) -> Reply:
        values = ('u="é a"'.encode().decode("latin-1"), "raw=é", "n=1")  # octets, each a character
        return Reply(body=b"<a href=/in>", headers=tuple(("Set-Cookie", one) for one in values))

    async with Website({"/": home, "/in": page()}) as site:
        await crawl(settings(site.url, cookies=True), tmp_path)
        (asked,) = [one for one in site.log if one.path == "/in"]
    assert asked.headers["cookie"].encode("latin-1").decode() == 'u="é a"; n=1'
