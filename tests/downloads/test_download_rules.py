"""The rules of downloads without a loop: spans, splitting, names, checksums, lists."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.downloads import (
    checksums,
    directory_cache,
    file_names,
    file_response,
    input_lists,
    metalink,
    rename,
)
from crawler.downloads.byte_ranges import ByteRanges
from crawler.downloads.connection_scaler import MEASURE_WINDOW_S, ConnectionScaler, split_point
from crawler.downloads.name_registry import NameRegistry
from crawler.downloads.temp_file import TEMP_SUFFIX
from crawler.errors import ConfigError, ProtocolError

SPAN = st.tuples(st.integers(0, 60), st.integers(0, 60))


@given(st.lists(SPAN))
def test_spans_are_the_set_of_their_bytes(pairs: list[tuple[int, int]]) -> None:
    spans, there = ByteRanges(), set()
    for start, end in pairs:
        spans.add(start, end)
        there |= set(range(start, end))
    assert spans.total == len(there)
    assert {at for start, end in spans.as_tuple() for at in range(start, end)} == there
    gaps = {at for start, end in spans.gaps(64) for at in range(start, end)}
    assert gaps == set(range(64)) - there
    assert ByteRanges(spans.as_tuple()).as_tuple() == spans.as_tuple()


@given(st.integers(0, 10**12), st.integers(1, 10**12), st.integers(1, 10**8))
def test_halves_are_both_worth_it(start: int, length: int, least: int) -> None:
    middle = split_point(start, start + length, least)
    assert (middle is None) == (length < 2 * least)
    if middle is not None:
        assert start < middle < start + length


def test_connections_double_until_the_line_is_full() -> None:
    scaler, now, got, connections = ConnectionScaler(16), 0.0, 0, 1
    for _ in range(20):
        connections += scaler.connections_to_add(now, got, connections)
        now += MEASURE_WINDOW_S
        got += min(connections, 4) * 1000  # the line takes four
    assert scaler.saturated
    assert connections == 8  # the last step showed that it did not pay


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("attachment; filename=report.pdf", "report.pdf"),
        ('attachment; filename="a b.pdf"', "a b.pdf"),
        (r'attachment; filename="a\"b.pdf"', 'a"b.pdf'),
        ("attachment; filename=\"x.pdf\"; filename*=UTF-8''na%C3%AFve.pdf", "naïve.pdf"),
        ("attachment; filename*=iso-8859-1'en'%A3.txt", "£.txt"),
        ('inline;filename="€.txt"'.encode().decode("latin-1"), "€.txt"),
        ("filename=bare.zip", "bare.zip"),
        ('attachment; filename="semi;colon.txt"', "semi;colon.txt"),
        ("attachment; FILENAME=up.txt", "up.txt"),
        ("attachment", None),
        ("", None),
        ("attachment; filename*=klingon''x", None),
        ("attachment; filename*=UTF-8''caf%E9.txt; filename=plain.txt", "plain.txt"),
        ("attachment; filename*=UTF-8''caf%E9.txt", None),
        ('attachment; filename=""', None),
        ('attachment; filename="=?UTF-8?B?w6kucGRm?="', "é.pdf"),
        ("attachment; filename==?iso-8859-1?Q?caf=E9.txt?=", "café.txt"),
        ('attachment; filename="=?klingon?Q?x?="', "=?klingon?Q?x?="),
        ('attachment; filename="na%C3%AFve%20one.txt"', "naïve one.txt"),
        ('attachment; filename="100%25 of it%FF.txt"', "100%25 of it%FF.txt"),
        ('attachment; filename="报告.pdf"'.encode("gbk").decode("latin-1"), "报告.pdf"),
        ('attachment; filename="café.pdf"', "café.pdf"),
    ],
)  # fmt: skip
def test_content_disposition(header: str, name: str | None) -> None:
    assert file_names.from_content_disposition(header) == name


@given(st.text(max_size=400))
def test_any_strangers_name_is_one_harmless_segment(text: str) -> None:
    name = file_names.sanitize(text)
    assert name
    assert not {"/", "\\", "\0"} & set(name)
    assert name not in {".", ".."}
    assert name[0] not in ".-~"
    assert len(name.encode()) <= file_names.MAX_NAME_BYTES + 1
    assert not name.endswith((TEMP_SUFFIX, ".", " "))
    assert file_names.sanitize(name) == name


@pytest.mark.parametrize(
    ("given_", "made"),
    [("../../etc/passwd", "passwd"), ("C:\\temp\\x.exe", "x.exe"), ("CON.txt", "_CON.txt"),
     ("a\u202eexe.pdf", "aexe.pdf"), ("x" * 300 + ".tar.gz", "x" * 197 + ".gz"), ("", "file")],
)  # fmt: skip
def test_names_of_strangers(given_: str, made: str) -> None:
    assert file_names.sanitize(given_) == made


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("f.zip", ("application/zip", None)), ("/a/b.tar.gz", ("application/x-tar", "gzip")),
        ("a?b.pdf", ("application/pdf", None)), ("a#b;c.pdf", ("application/pdf", None)),
        ("C:x.pdf", ("application/pdf", None)), ("data:x.pdf", ("application/pdf", None)),
        ("//x.pdf", ("application/pdf", None)), ("\udc80.pdf", ("application/pdf", None)),
        ("README", (None, None)), ("", (None, None)),
    ],
)  # fmt: skip
def test_what_a_name_stands_for(name: str, found: tuple[str | None, str | None]) -> None:
    assert file_response.guess_type(name) == found


def test_templates() -> None:
    made = file_names.compile_template("{host}/{path}/{stem}-{n:03}{ext}")
    assert (
        made("http://h.example:8080/a/../b/f.tar", "f.tar", 7)
        == "h.example_8080/a/file/b/f-007.tar"
    )
    for wrong in ("{nope}", "/abs/{name}", "../{name}", "{n:x!}", "{"):
        with pytest.raises(ConfigError):
            file_names.compile_template(wrong)


@pytest.mark.parametrize("most", [10, 3, 2, 1, 0])
def test_what_lies_in_a_folder_is_known_however_full_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(directory_cache, "MAX_CACHED_NAMES", most)
    (tmp_path / "sub").mkdir()
    for name in ("one", "sub/two"):
        (tmp_path / name).write_text("")
    there = directory_cache.DirectoryCache(str(tmp_path))
    names_ = ["one", "two", "sub/two", "sub/one", "none/one"]
    assert [there.exists(name) for name in names_] == [True, False, True, False, False]


def test_claims_never_meet() -> None:
    names = NameRegistry({"there.txt"}.__contains__)
    given_ = [names.claim("there.txt", f"u{n}") for n in range(5)]
    given_ += [names.claim("THERE.TXT", "v"), names.claim("a.tar.gz", "x")]
    given_ += [names.claim("a.tar.gz", "y")]
    assert len({name.casefold() for name in given_}) == len(given_)
    assert given_[0] == "there.1.txt"
    assert given_[-1] == "a.1.tar.gz"
    assert names.claim("a.tar.gz", "x") == "a.tar.gz", "its own again"


def test_each_line_of_a_list_has_its_own_algorithm() -> None:
    text = f"{'1' * 32}  a\nSHA256 (b) = {'2' * 64}\n{'3' * 40}  c\n"
    assert checksums.parse_sums_file(text, "checksums.txt") == {
        "a": [("md5", "1" * 32)],
        "b": [("sha256", "2" * 64)],
        "c": [("sha1", "3" * 40)],
    }


@pytest.mark.parametrize("name", ["sha256", "sha1", "md5", "blake2b", "blake2s", "sha512"])
def test_checksums_however_they_are_written(tmp_path: Path, name: str) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x" * 3_000_000)
    digest = hashlib.new(name, b"x" * 3_000_000).hexdigest()
    assert checksums.parse_checksum(f"{name}:{digest.upper()}") == (name, digest)
    assert checksums.file_digests(file, [name]) == {name: digest}
    assert checksums.parse_sums_file(f"{digest} *f\n# no\n", f"{name.upper()}SUMS") == {
        "f": [(name, digest)]
    }
    assert checksums.parse_sums_file(f"{name.upper()} (d/f) = {digest}", "x") == {
        "d/f": [(name, digest)]
    }


def test_crc32c(tmp_path: Path) -> None:
    pytest.importorskip("crc32c", reason="the extra crc32c is not installed")
    (tmp_path / "f").write_bytes(b"123456789")
    assert checksums.file_digests(tmp_path / "f", ["crc32c"]) == {
        "crc32c": "e3069283"
    }  # RFC 3720 B.4


@pytest.mark.parametrize("text", ["", "sha256:12", "rot13:00", "zz", "sha256"])
def test_what_is_no_checksum(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|digits|algorithm is none"):
        checksums.parse_checksum(text)


def test_digests_that_servers_announce() -> None:
    digest = hashlib.sha256(b"x").digest()
    coded = base64.b64encode(digest).decode()
    fields = [
        ("Repr-Digest", f"unknown=:AAAA:, sha-256=:{coded}:"),
        ("Digest", f"SHA-256={coded}"),
        ("Content-Digest", f"sha-256=:{coded}:"),  # of this message alone: a part's
        ("Repr-Digest", "sha-256=:!!!:"),
    ]
    assert checksums.server_digests(fields) == [("sha256", digest.hex())] * 2


@pytest.mark.parametrize(
    ("url", "all_"),
    [
        ("http://h/{a,b}/[1-2]", ["http://h/a/1", "http://h/a/2", "http://h/b/1", "http://h/b/2"]),
        ("http://h/[08-10]", ["http://h/08", "http://h/09", "http://h/10"]),
        ("http://h/[1-9:4]", ["http://h/1", "http://h/5", "http://h/9"]),
        ("http://h/[a-e:2]", ["http://h/a", "http://h/c", "http://h/e"]),
        ("http://[::1]/[1-1]", ["http://[::1]/1"]),
        ("http://h/plain", ["http://h/plain"]),
    ],
)
def test_ranges_in_urls(url: str, all_: list[str]) -> None:
    assert list(input_lists.expand_url(url)) == all_


@pytest.mark.parametrize("url", [
    "http://h/[9-1]", "http://h/[1-99999999]", "http://h/[1-5:0]", f"http://h/[1-{'9' * 30}]",
    f"http://h/[1-{'9' * 18}]", f"http://h/[1-{'9' * 5000}]",
    f"http://h/[1-9:{'9' * 99}]",
])  # fmt: skip
def test_ranges_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError):
        list(input_lists.expand_url(url))


def test_lists_in_all_forms() -> None:
    sha = "0" * 64
    text = (
        "# a comment\n\nhttp://h/a\n"
        f"http://h/b\thttp://m/b\n  out=d/b.bin\n  checksum=sha-256={sha}\n  header=X-A: 1\n"
        f'{{"url": "http://h/c", "name": "c.bin", "checksum": "{sha}", "size": 3, '
        '"mirrors": ["http://m/c"]}\n'
    )
    first, second, third = input_lists.parse_list(text, "list")
    assert (first.url, first.name) == ("http://h/a", None)
    assert (second.name, second.mirrors, second.headers) == (
        "d/b.bin", ("http://m/b",), {"X-A": "1"},
    )  # fmt: skip
    assert second.checksums == third.checksums == (("sha256", sha),)
    assert (third.name, third.size, third.mirrors) == ("c.bin", 3, ("http://m/c",))
    (known,) = input_lists.with_checksums([first], {"a": [("md5", "1" * 32)]})
    assert known.checksums == (("md5", "1" * 32),)


@pytest.mark.parametrize(
    "text",
    ["  out=x\n", "http://h/a\n  out=../x\n", "http://h/a\n  max-tries=3\n", '{"url": 1}\n',
     '{"url": "http://h/", "colour": 1}\n', "http://h/a\n  checksum=md5=1\n",
     '{"url": "http://h/", "headers": {"A": "b\\r\\nC: d"}}\n'],
)  # fmt: skip
def test_lists_that_are_wrong_say_where(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^(list|file name)"):
        input_lists.parse_list(text, "list")


METALINK = """<?xml version="1.0"?>
<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="d/f.iso"><size>5</size>
<hash type="sha-256">{sha}</hash><hash type="whirlpool">00</hash>
<url priority="2">http://two/f</url><url priority="1">http://one/f</url><url>ftp://no/f</url>
</file></metalink>"""


def test_metalink() -> None:
    (order,) = metalink.parse_metalink(METALINK.format(sha="A" * 64), "f.meta4")
    assert (order.url, order.mirrors) == ("http://one/f", ("http://two/f",))
    assert (order.name, order.size) == ("d/f.iso", 5)
    assert order.checksums == (("sha256", "a" * 64),)


@pytest.mark.parametrize(
    ("name", "tamed"),
    [
        ("../../etc/x.iso", "etc/x.iso"),
        ("/etc/passwd", "etc/passwd"),
        ("C:\\win\\x.iso", "win/x.iso"),
        (".bashrc", "bashrc"),
        ("con", "_con"),
        ("d/-rf", "d/_-rf"),
        ("..", "f"),
        ("", "f"),
    ],
)
def test_a_metalinks_names_are_tamed_as_any_strangers(name: str, tamed: str) -> None:
    text = METALINK.replace("d/f.iso", name).format(sha="a" * 64)
    (order,) = metalink.parse_metalink(text, "f.meta4")
    assert order.name == tamed


@pytest.mark.parametrize(
    "text",
    ["<a/>", "<metalink", '<!DOCTYPE x [<!ENTITY a "b">]>' + METALINK.format(sha="a" * 64),
     METALINK.format(sha="xyz")],
)  # fmt: skip
def test_metalinks_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError):
        metalink.parse_metalink(text, "f.meta4")


def test_validators_that_can_be_trusted() -> None:
    def said(**fields: str) -> str:
        pairs = tuple((name.replace("_", "-"), value) for name, value in fields.items())
        return file_response.parse_response(200, file_response.header_map(pairs)).validator

    old, now = "Tue, 01 Sep 2026 10:00:00 GMT", "Tue, 01 Sep 2026 10:00:30 GMT"
    assert said(ETag='"a"', Last_Modified=old) == '"a"'
    assert said(ETag='W/"a"') == ""
    assert said(ETag='W/"a"', Last_Modified=old, Date=now) == old
    assert said(Last_Modified=old, Date=old) == "", "it may change within the same second"
    assert said(Last_Modified=old) == ""


@given(st.text(alphabet="bytes 0123456789-/*", max_size=30))
def test_a_content_range_is_understood_or_refused(text: str) -> None:
    try:
        said = file_response.parse_response(206, {"content-range": text})
    except ProtocolError:
        return
    assert said.end is not None
    assert 0 <= said.start < said.end <= (said.size or said.end)


PLAIN = st.from_regex(r"[A-Za-z0-9_+=@,.()~ -]{1,12}(\.(part|wrong|txt|PART))?", fullmatch=True)


@given(PLAIN | st.sampled_from(["con", "COM1.txt", "lpt9.tar.gz", "a.part", "a.", "_", "x" * 190]))
def test_a_plain_name_is_seen_to_be_one(name: str) -> None:
    """What is let through at sight is what looking at each letter leaves as it is."""
    assert file_names.sanitize(name) == file_names.sanitize_by_letter(name)


@pytest.mark.parametrize(
    ("url", "name"),
    [("http://h/a/b.zip?c=/d.e#f/g", "b.zip"), ("http://h/a/", file_names.DEFAULT_NAME),
     ("http://h", file_names.DEFAULT_NAME), ("http://h/?x=/y", file_names.DEFAULT_NAME),
     ("http://h/%C3%A9", "é"),
     ("http://h/web/http://x/y.pdf", "y.pdf"), ("http://h:8/a;b", "a;b")],
)  # fmt: skip
def test_the_end_of_a_url(url: str, name: str) -> None:
    assert file_names.from_url(url) == name


@pytest.mark.parametrize("links", [False, True], ids=["in one", "by a link"])
@pytest.mark.parametrize("trouble", sorted(rename.UNSUPPORTED_ERRNOS))
def test_a_rename_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: int, links: bool
) -> None:
    """With the system's own call and, where it is not known, with links or a look."""
    if links:
        monkeypatch.setattr(rename, "_renameat2", lambda: lambda _old, _new: trouble)
    old, new, other = (str(tmp_path / name) for name in ("old", "new", "other"))
    Path(old).write_text("ours")
    rename.rename_new(old, new)
    assert Path(new).read_text() == "ours"
    assert not Path(old).exists()
    Path(other).write_text("somebody's")
    with pytest.raises(FileExistsError):
        rename.rename_new(new, other)
    assert (Path(new).read_text(), Path(other).read_text()) == ("ours", "somebody's")
    with pytest.raises(FileNotFoundError):
        rename.rename_new(old, str(tmp_path / "nowhere"))


def test_a_rename_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(rename, "_renameat2", lambda: None)
    monkeypatch.setattr(os, "link", no_links)
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("ours")
    new.write_text("somebody's")
    with pytest.raises(FileExistsError):
        rename.rename_new(str(old), str(new))
    new.unlink()
    rename.rename_new(str(old), str(new))
    assert new.read_text() == "ours"
