"""The mirror: one path a URL, links that lead somewhere, good copies that stay good."""

from __future__ import annotations

import asyncio
import posixpath
import re
import string
from collections import defaultdict
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
import tinycss2
from conftest import OpenSite
from helpers.crawling import by_path, crawl, settings
from helpers.mirror_checks import PNG, awkward, check_links, urls_of_tinycss2
from helpers.warc_checks import sink, visit
from helpers.website import Website, page, reply
from hypothesis import assume, example, given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from crawler.config.model import UrlsConfig
from crawler.errors import FatalError
from crawler.export.link_rewriter import replace_links, replace_srcset
from crawler.export.mirror import MirrorResult, write_mirror
from crawler.export.mirror_paths import EXTENSIONS, MAX_PATH, mirror_path, to_be_hashed
from crawler.export.start_tags import attributes_of, start_tags
from crawler.export.warc_reader import WarcReader
from crawler.parse.attribute_values import parse_srcset
from crawler.parse.css import css_urls, replace_urls
from crawler.policy.urls import Urls

URLS = Urls(UrlsConfig())

# ── one path a URL ───────────────────────────────────────────────────────────────────────────

WORDS = st.sampled_from(
    ["a", "A", "b", "index.html", "index", "a.html", "a.html_", "a~.html", "con", "CON", "nul.txt",
     "..", ".", ".hidden", "a b", "a%20b", "%2e%2e", "%2F", "%5C", "ü", "%C3%BC",
     "u%CC%88", "x" * 300,
     "a.b", "a.", "style.php", "b.css", "~", "a~q", "mirror.db", "*", ":",
     "a:b", "|", "aux.h"]
)  # fmt: skip
SEGMENT = st.one_of(WORDS, st.text(string.printable, max_size=8))
ADDRESS = st.builds(
    lambda scheme, host, parts, query: f"{scheme}://{host}/{'/'.join(parts)}{query}",
    st.sampled_from(["http", "https"]),
    st.sampled_from(
        ["a.test", "b.test", "A.test", "a.test:81", "[::1]", "[::1]:8080", "a_b.test", "con",
         "index.html", "mirror.db", "127.0.0.1:80", "xn--bcher-kva.test"]
    ),
    st.lists(SEGMENT, max_size=6),
    st.sampled_from(["", "?", "?x=1", "?X=1", "?x=1&y=2", "?../..", "?" + "q" * 400]),
)  # fmt: skip
CANONICAL = ADDRESS.map(URLS.canonical).filter(lambda url: url is not None)
MIMES = st.sampled_from([*EXTENSIONS, "", "application/octet-stream", "x/y"])


def folded(path: str) -> str:
    """As the strictest file system sees it."""
    return path.casefold()


def named(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The files of a mirror with these URLs."""
    names = {url: mirror_path(url, mime) for url, mime in pairs}
    groups = defaultdict(list)
    for url, path in names.items():
        groups[folded(path)].append((url, path))
    hashed = {url for same in groups.values() if len(same) > 1 for url in to_be_hashed(same)}
    return {url: mirror_path(url, mime, hashed=url in hashed) for url, mime in pairs}


@given(st.lists(st.tuples(CANONICAL, MIMES), min_size=2, max_size=20, unique_by=lambda p: p[0]))
def test_no_two_urls_meet_and_no_file_stands_where_a_folder_must(
    pairs: list[tuple[str, str]],
) -> None:
    names = named(pairs)
    assert names == named(pairs[::-1]), "in whichever order they came"
    paths = [folded(path) for path in names.values()]
    assert len(set(paths)) == len(paths)
    folders = {path[:at] for path in paths for at in range(len(path)) if path[at] == "/"}
    assert not folders & set(paths)
    assert not {"index.html", "mirror.db"} & (folders | set(paths))


@given(CANONICAL, MIMES)
@example("https://a.test/" + "/".join("deep" * 5 for _ in range(50)), "text/html")
def test_a_path_is_harmless_and_always_the_same(url: str, mime: str) -> None:
    path = mirror_path(url, mime)
    assert path == mirror_path(url, mime)
    assert len(path) <= MAX_PATH
    assert re.fullmatch(r"[A-Za-z0-9._~@=,+/-]+", path)
    for name in path.split("/"):
        assert name.strip("."), "a step upwards"
        assert not name.startswith(".")
        assert not name.endswith(".")
        assert not re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", name, re.IGNORECASE)
    extension = posixpath.splitext(path)[1]
    assert extension
    if mime in EXTENSIONS:
        assert extension in EXTENSIONS[mime]


@pytest.mark.parametrize(
    ("url", "mime", "path"),
    [
        ("https://example.com/", "text/html", "example.com/index.html"),
        ("https://example.com/docs/a.html", "text/html", "example.com/docs/a.html"),
        ("https://example.com/about", "text/html", "example.com/about~.html"),
        ("https://example.com/about/", "text/html", "example.com/about/index.html"),
        ("https://example.com/about.html/x", "text/html", "example.com/about.html_/x~.html"),
        ("https://example.com/style.php", "text/css", "example.com/style.php~.css"),
        ("https://example.com/v1.2/x.js", "text/javascript", "example.com/v1.2/x.js"),
        ("https://example.com/x.tar.gz", "application/gzip", "example.com/x.tar.gz"),
        ("http://localhost:8000/a", "text/html", "localhost,http,8000/a~.html"),
        ("https://e.com/_static/Theme.css", "text/css", "e.com/_static/Theme.css"),
        ("https://e.com/_next/static/A1.js", "text/javascript", "e.com/_next/static/A1.js"),
        ("https://e.com/README", "text/html", "e.com/README~.html"),
        ("https://e.com/index.html", "text/html", "e.com/index.html"),
    ],
)
def test_paths_that_people_will_see(url: str, mime: str, path: str) -> None:
    assert mirror_path(url, mime) == path


def test_only_those_that_meet_need_a_hash() -> None:
    hashed = r"e\.com/[A-Za-z]+~[a-z2-7]{12}\.html"
    for paths, plain in (
        (["README.html", "readme.html"], ["readme.html"]),
        (["README.html", "Readme.html"], []),
        (["", "index.html"], [""]),
        (["index.html", "INDEX.html"], ["index.html"]),
        (["A/x.html", "a/y.html"], ["A/x.html", "a/y.html"]),
    ):
        names = named([(f"https://e.com/{path}", "text/html") for path in paths])
        kept = [path for path in paths if not re.fullmatch(hashed, names[f"https://e.com/{path}"])]
        assert kept == plain


@pytest.mark.parametrize(
    ("url", "mime", "shape"),
    [
        ("https://e.com/p?id=7", "text/html", r"e\.com/p~id=7~[a-z2-7]{12}\.html"),
        ("https://e.com/p?", "text/html", r"e\.com/p~[a-z2-7]{12}\.html"),
        ("https://e.com/caf%C3%A9", "text/html", r"e\.com/caf_~[a-z2-7]{12}\.html"),
    ],
)
def test_names_that_need_a_hash(url: str, mime: str, shape: str) -> None:
    assert re.fullmatch(shape, mirror_path(url, mime))


# ── style sheets ─────────────────────────────────────────────────────────────────────────────


PIECE = st.sampled_from(
    ["a{", "}", "b", " ", "\n", ";", ":", "/*", "*/", "url(a.png)", "url( 'b c' )", 'url("d\\"e")',
     "URL(f)", "myurl(g)", "url(h\\)i)", "url()", "url(#x)", "@import 'j';", '@import/**/"k"',
     "@import url(l)", '"str url(m)"', "'\\''", "\\75 rl", "src: ", "(", ")", "-url(n)", "url(o p)",
     "\\", "@media x", "é", "url(q\\26 r)", "\\'", "image-set("]
)  # fmt: skip


@given(st.lists(PIECE, max_size=12).map("".join))
def test_our_css_lexer_finds_what_a_css_parser_finds(css: str) -> None:
    # bad-url and what a file's end cuts off: recovery; names written in escapes: nobody does.
    last = tinycss2.parse_component_value_list(css + " url(end)")[-1]
    assume(last.type == "url" and last.value == "end")
    assume(not re.search(r"\\$|url\(o p|\\\n|\\75 rl\(|\\(url|image-set)\(", css, re.IGNORECASE))
    assert list(css_urls(css)) == urls_of_tinycss2(css)


@given(st.lists(PIECE, max_size=12).map("".join))
def test_css_is_untouched_where_nothing_is_replaced(css: str) -> None:
    assert replace_urls(css, lambda url: url) == css


def test_css_keeps_its_quotes_and_everything_else() -> None:
    css = "/* url(no) */ @import 'a.css' screen;\nb{background:URL( \"x y.png\" ), url(z.gif)}"
    assert replace_urls(css, lambda url: f"../{url}") == (
        "/* url(no) */ @import '../a.css' screen;\n"
        'b{background:URL( "../x%20y.png" ), url(../z.gif)}'
    )


# ── markup ───────────────────────────────────────────────────────────────────────────────────

MARKUP = st.sampled_from(
    ["<a href=x>", "<a href='y&amp;z'>", '<A HREF = "q&copy=1&lt">', "</a>", "<img src=i>",
     "<!-- <a href=no> -->", "<!-->", "<!doctype html>", "<script>'<a href=no>'</script>",
     "text & <",
     "<style>a{b:url(c)}</style>", "<title><a href=no></title>", "<p title=it's href=no>", "<br/>",
     "<textarea><a href=no></textarea>", "<a\nhref\n=\nk>", "<a href=1 href=2>",
     "<a href>", "<a / href=u>",
     "<a title='>' href=v>", "<a b=c=d href=w>", "</a href=no>",
     "<a b='unclosed href=x>", '<a href="y', "<img src=z",
     "<?php <a href=no> ?>", '<a\thref="&#38;">']
)  # fmt: skip


def hrefs(text: str) -> list[str]:
    return [
        one.value
        for name, start, end, _ in start_tags(text)
        if name in {"a", "img"}
        for one in attributes_of(text, name, start, end)
        if one.name in {"href", "src"}
    ]


@given(st.lists(MARKUP, max_size=10).map("".join))
def test_our_tokenizer_sees_what_a_browser_sees(text: str) -> None:
    tree = LexborHTMLParser(f"<body>{text}")
    theirs = [
        value or ""
        for node in tree.css("a[href],img[src]")
        for key, value in node.attributes.items()
        if key in {"href", "src"}
    ]
    # A tree may hold a formatting element twice; the order of distinct ones is the tokenizer's.
    assert list(dict.fromkeys(hrefs(text))) == list(dict.fromkeys(theirs))


@given(st.lists(MARKUP, max_size=10).map("".join))
def test_a_page_is_untouched_where_nothing_is_replaced(text: str) -> None:
    assert replace_links(text, lambda link: link, lambda link: link) == text


@given(st.text(max_size=30), st.sampled_from(["", '"', "'"]))
def test_what_is_written_is_read_back(value: str, quote: str) -> None:
    value = value.replace("\r", "").replace("\0", "").strip()
    text = f"<a href={quote}x{quote}>"
    new = replace_links(text, lambda _: value, lambda _: value)
    node = LexborHTMLParser(new).css_first("a")
    assert node is not None
    assert (node.attributes["href"] or "") == value
    assert hrefs(new) == [value]


@given(st.text(alphabet="ab,() \t2xw", max_size=30))
def test_srcset_means_the_same_when_rewritten(srcset: str) -> None:
    assert replace_srcset(srcset, lambda url: url) == srcset
    new = replace_srcset(srcset, lambda url: f"../{url}")
    assert list(parse_srcset(new)) == [f"../{url}" for url in parse_srcset(srcset)]


@pytest.mark.parametrize(
    "text",
    ["<a " * 10**6, "<a b='" * 10**6, "<!--" * 10**6, "<script>" * 10**6, "</" * 10**6,
     "<a x=&amp" * 10**6, "<p style='url(" * 10**6, "<" * 10**6],
    ids=lambda text: text[:9],
)  # fmt: skip
def test_a_page_made_to_take_for_ever_does_not(text: str) -> None:
    """Quadratic time would be hours."""
    assert replace_links(text, lambda link: link, lambda link: link) == text


@pytest.mark.parametrize(
    "css",
    [r"url(\aaaaaa" * 10**5, "@import/**/" * 10**5, "/*" * 10**6, "'" * 10**6 + "\n",
     "url(" * 10**6, "@import " + "/**/" * 10**5, "url(" + r"\aaaaaa" * 10**5 + "("],
    ids=lambda css: css[:9],
)  # fmt: skip
def test_a_sheet_made_to_take_for_ever_does_not(css: str) -> None:
    assert replace_urls(css, lambda url: url) == css


def test_what_a_copy_on_disk_must_not_have_goes() -> None:
    text = (
        "<!DOCTYPE html PUBLIC '-//W3C//DTD HTML 4.01 Transitional//EN'><base href=/x/>"
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'self'\">"
        "<link rel=preconnect href=//cdn><link rel=canonical href=c>"
        "<script src=s integrity=sha384-x crossorigin></script>"
        "<meta http-equiv=refresh content='5; url=r'><pre>\n\nkept</pre>"
    )
    assert replace_links(text, lambda link: f"L{link}", lambda link: f"A{link}") == (
        "<!DOCTYPE html PUBLIC '-//W3C//DTD HTML 4.01 Transitional//EN'>"
        '<link rel=canonical href="Ac">'
        '<script src="Ls"></script>'
        "<meta http-equiv=refresh content='5; url=Lr'><pre>\n\nkept</pre>"
    )


# ── a site with awkward names ────────────────────────────────────────────────────────────────


def remake(folder: Path) -> MirrorResult:
    with WarcReader(folder) as archive:
        return write_mirror(archive, folder / "mirror", URLS)


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A folder with a mirror of the awkward site, the site's origin and that of its CDN."""
    folder = tmp_path_factory.mktemp("mirror")

    async def make() -> tuple[str, str]:
        cdn = {"/cdn.png": reply(PNG, mime="image/png")}
        async with Website(awkward(), cdn) as online:
            other = f"{online.origins[1]}/cdn.png"
            await crawl(settings(online.url, other, mirror=True), folder)
            return online.origins[0], online.origins[1]

    origins = asyncio.run(make())
    remake(folder)
    return folder, *origins


def test_every_link_of_an_awkward_site_resolves(mirrored: tuple[Path, str, str]) -> None:
    folder, home, _ = mirrored
    away = check_links(folder / "mirror")
    assert away == {f"{home}/gone", f"{home}/deep/er/#here"}
    fetched = {path for path, line in by_path(folder).items() if line["status"] == 200}
    assert fetched >= set(awkward()) - {"/robots.txt", "/gone", "/old"}
    files = [path for path in (folder / "mirror").rglob("*") if path.is_file()]
    assert len(files) == len(fetched) + 2  # the door and the ledger


def test_bodies_are_the_site_s(mirrored: tuple[Path, str, str]) -> None:
    folder, home, cdn = mirrored
    mirror = folder / "mirror"
    assert (mirror / mirror_path(f"{cdn}/cdn.png", "image/png")).read_bytes() == PNG
    sheet = (mirror / mirror_path(f"{home}/style.php", "text/css")).read_text()
    assert sheet == (
        "@import 'more.css'; @font-face{src:url(\"f/x.woff2\")} b{background:url(bg.png)}"
    )
    jis = (mirror / mirror_path(f"{home}/jis.css", "text/css")).read_text()
    image = mirror_path(f"{home}/%E6%97%A5.png", "image/png").split("/", 1)[1]
    assert jis == f'\ufeff@charset "shift_jis"; a{{background:url("{quote(image)}")}}'
    latin = (mirror / mirror_path(f"{home}/latin", "text/html")).read_text("utf-8-sig")
    assert "café" in latin
    top = (mirror / mirror_path(f"{home}/", "text/html")).read_text("utf-8-sig")
    assert "integrity" not in top
    page_path = mirror_path(f"{home}/deep/er/page", "text/html").split("/", 1)[1]
    assert f'href="{page_path}#part"' in top
    assert top.count(f'href="{page_path}"') == 1  # /old leads there
    based = (mirror / mirror_path(f"{home}/based", "text/html")).read_text("utf-8-sig")
    assert "<base" not in based
    assert f'href="{page_path}#part"' in based


def test_a_second_pass_changes_nothing(mirrored: tuple[Path, str, str]) -> None:
    folder, _, _ = mirrored
    before = {path: path.stat().st_mtime_ns for path in (folder / "mirror").rglob("*.*")}
    again = remake(folder)
    assert (again.written, again.removed) == (0, 0)
    after = {path: path.stat().st_mtime_ns for path in (folder / "mirror").rglob("*.*")}
    assert {p: t for p, t in before.items() if p.suffix != ".db"} == {
        p: t for p, t in after.items() if p.suffix != ".db"
    }


def test_damage_is_mended(mirrored: tuple[Path, str, str]) -> None:
    folder, home, _ = mirrored
    mirror = folder / "mirror"
    sheet = mirror / mirror_path(f"{home}/style.php", "text/css")
    image = mirror / mirror_path(f"{home}/bg.png", "image/png")
    whole = sheet.read_bytes()
    sheet.write_bytes(b"torn")
    image.unlink()
    (mirror / "mirror.db").write_bytes(b"not a database")
    assert remake(folder).written >= 2
    assert sheet.read_bytes() == whole
    assert image.read_bytes() == PNG


async def test_requisites_are_fetched_wherever_they_lie(website: OpenSite, tmp_path: Path) -> None:
    head = "<link rel=stylesheet href={}s.css>"
    online = await website({}, {})
    here, there = (f"{origin}/" for origin in online.origins)
    online.put("/", page("Home", ["/page", f"{there}page"], head=head.format(there)))
    online.put("/", page("There"), 1)
    online.put("/s.css", reply("@import 't.css';a{b:url(i.png)}", mime="text/css"), 1)
    online.put("/t.css", reply("", mime="text/css"), 1)
    online.put("/i.png", reply("<img src=trap.png><a href=/page>x</a>", mime="text/html"), 1)
    config = settings(here, there, scope="page", requisites=True, max_depth=0)
    await crawl(config, tmp_path)
    assert set(online.hits) == {"/", "/robots.txt", "/s.css", "/t.css", "/i.png"}


async def test_queries_and_empty_elements_mean_on_disk_what_they_meant(
    website: OpenSite, tmp_path: Path
) -> None:
    """Pages become UTF-8, their links were asked for in their own encoding; XHTML becomes HTML."""
    xhtml = '<html xmlns="http://www.w3.org/1999/xhtml"><script src="s.js"/><a href="/b"/>x</html>'
    site = await website(
        {
            "/": reply("<a href='/q?é'>q</a><a href=/x>x</a>".encode("latin-1"),
                       mime="text/html; charset=iso-8859-1"),
            "/q?%E9": page("Q"), "/b": page("B"), "/s.js": reply("", mime="text/javascript"),
            "/x": reply(xhtml, mime="application/xhtml+xml"),
        }
    )  # fmt: skip
    await crawl(settings(site.url, warc=True, requisites=True), tmp_path)
    assert {"/q?%E9", "/b", "/s.js"} <= set(site.hits)
    remake(tmp_path)
    copies = {path.name: path.read_text("utf-8") for path in (tmp_path / "mirror").rglob("*.*html")}
    text = "".join(copies.values())
    assert site.url not in text
    assert "</script>" in text
    assert not {one for one in check_links(tmp_path / "mirror") if one.startswith("http")}


async def test_a_failed_fetch_never_damages_a_good_copy(tmp_path: Path) -> None:
    """What `--update` rests on: only a better answer replaces a copy."""
    spool, folder = tmp_path, tmp_path / "warc"
    copy = tmp_path / "mirror" / "a.test" / "x~.html"
    async with sink(folder, max_file=10**6) as output:
        await output.cut(0)
        await output.append([visit("/x", b"<meta charset=utf-8>one", spool)])
        assert remake(tmp_path).written == 2
        for status in (500, 404, 403):
            await output.append([visit("/x", b"oops", spool, status=status)])
            assert remake(tmp_path).written == 0
        await output.append([visit("/x", b"", spool, status=304)])
        assert remake(tmp_path).written == 0
        assert copy.read_bytes() == b"<meta charset=utf-8>one"
        await output.append([visit("/x", b"<meta charset=utf-8>two", spool)])
        assert remake(tmp_path).written == 1
        assert copy.read_bytes() == b"<meta charset=utf-8>two"


async def test_a_copy_whose_type_changed_moves(tmp_path: Path) -> None:
    one, two = visit("/d/x", b"<meta charset=utf-8>", tmp_path), visit("/d/x", b"{}", tmp_path)
    assert two.page is not None
    headers = (("Content-Type", "application/json"),)
    two = msgspec.structs.replace(two, page=msgspec.structs.replace(two.page, headers=headers))
    async with sink(tmp_path / "warc", max_file=10**6) as output:
        await output.cut(0)
        await output.append([one])
        remake(tmp_path)
        assert (tmp_path / "mirror/a.test/d/x~.html").exists()
        await output.append([two])
        assert remake(tmp_path).removed == 1
    assert not (tmp_path / "mirror/a.test/d/x~.html").exists()
    assert (tmp_path / "mirror/a.test/d/x~.json").read_bytes() == b"{}"


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    async with sink(tmp_path / "warc", max_file=10**6) as output:
        await output.cut(0)
        await output.append([visit("/x", b"one", tmp_path)])
    (tmp_path / "mirror").write_text("in the way")
    with pytest.raises(FatalError, match="mirror: File exists"):
        remake(tmp_path)
