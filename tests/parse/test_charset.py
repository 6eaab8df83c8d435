"""Where a page's charset comes from: BOM, HTTP, `<meta>`, XML declaration, the bytes themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.parse.decode import PRESCAN, declares_utf8, to_text

CYRILLIC = "Съешь же ещё этих мягких французских булок да выпей чаю. " * 20


def found(body: bytes, http: str = "") -> tuple[str, str]:
    _, charset, source = to_text(body, http)
    return charset, source


@pytest.mark.parametrize(
    ("head", "charset"),
    [
        ("<meta charset=koi8-r>", "koi8-r"),
        ("<META CHARSET = ' Shift_JIS '>", "shift_jis"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-5">', "iso-8859-5"),
        ("<title>charset</title><meta charset='windows-1251'>", "windows-1251"),
        ("<meta charset=latin1>", "windows-1252"),
        ("<meta charset=x-user-defined>", "windows-1252"),
        ("<meta charset=utf-16le>", "utf-8"),  # it was read as ASCII, so it is none
        ("<?xml version='1.0' encoding='iso-8859-2'?><html>", "iso-8859-2"),
        ('<?xml version="1.0" encoding="UTF-16"?>', "utf-8"),
        ('<?xml version="1.0" encoding="iso-8859-2"?><meta charset=koi8-r>', "koi8-r"),
    ],
)
def test_what_a_page_says_of_itself(head: str, charset: str) -> None:
    assert found(head.encode() + b"\xe4 is no UTF-8") == (charset, "meta")


@pytest.mark.parametrize(
    "head",
    [
        "<meta charset=bogus>",
        "<!-- <meta charset=koi8-r> -->",
        '<a title="<meta charset=koi8-r>">',
        "<metal charset=koi8-r>",
        '<meta content="text/html; charset=koi8-r">',  # without http-equiv it says nothing
        "<script>var charset = 'koi8-r'</script>",
        "<?xml version='1.0' encoding='bogus'?>charset",
        "<p>encoding='koi8-r' charset=koi8-r",
        " " * PRESCAN + "<meta charset=koi8-r>",
    ],
)
def test_what_is_no_declaration(head: str) -> None:
    assert found(head.encode()) == ("utf-8", "detected")


def test_the_order() -> None:
    meta = b"<meta charset=koi8-r>"
    assert found(b"\xef\xbb\xbf" + meta, "iso-8859-2") == ("utf-8", "bom")
    assert found(meta, "iso-8859-2") == ("iso-8859-2", "http")
    assert found(meta, "bogus") == ("koi8-r", "meta")
    assert found(CYRILLIC.encode()) == ("utf-8", "detected")
    assert found(CYRILLIC.encode("windows-1251")) == ("windows-1251", "detected")


SAMPLES = (
    ("windows-1251", CYRILLIC),
    ("koi8-r", CYRILLIC),
    ("windows-1253", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία, και πάλι από την αρχή. " * 20),
    ("windows-1254", "Pijamalı hasta yağız şoföre çabucak güvendi, öğleden sonra. " * 20),
    ("windows-1252", "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. " * 20),
    ("shift_jis", "いろはにほへと、日本語の文書は文字の符号を言わないことがよくあります。" * 20),
    ("euc-jp", "いろはにほへと、日本語の文書は文字の符号を言わないことがよくあります。" * 20),
    ("euc-kr", "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다. " * 20),
    ("gb18030", "我能吞下玻璃而不伤身体，但是网页常常不说明它的编码。" * 20),
    ("big5", "我能吞下玻璃而不傷身體，但是網頁常常不說明它的編碼。" * 20),
)


@pytest.mark.parametrize(("charset", "text"), SAMPLES, ids=[one for one, _ in SAMPLES])
def test_old_pages_that_say_nothing_are_read(charset: str, text: str) -> None:
    body = f"<title>1</title><p>{text}".encode(charset)
    read, _, source = to_text(body, "")
    assert read.endswith(text)
    assert source == "detected"


def test_a_page_cut_off_within_a_character_is_what_it_was() -> None:
    body = CYRILLIC.encode()
    assert found(body[: body.rindex(b" ") - 1]) == ("utf-8", "detected")


def test_bytes_that_look_like_nothing() -> None:
    assert found(b"nothing \xff") == ("windows-1252", "default")


def test_text_is_decoded_as_declared() -> None:
    body = b"<meta charset=windows-1251>" + CYRILLIC.encode("windows-1251")
    text, _, _ = to_text(body, "")
    assert text.endswith(CYRILLIC)


@settings(deadline=None, derandomize=True)
@given(
    st.lists(
        st.sampled_from([b"charset", b"=", b"utf-8", b" ", b"<p>", b"\x1b$B", b"\xe9"])
        | st.binary(max_size=40)
    )
)
def test_without_a_tag_nothing_is_declared(pieces: list[bytes]) -> None:
    body = b"".join(pieces).replace(b"<", b"").removeprefix(b"\xef\xbb\xbf")
    assert not declares_utf8(body)


def test_a_charset_loads_nothing_heavy() -> None:
    """Most servers name no charset, so the first page of each parse process would pay for it."""
    code = (
        "import sys; from crawler.parse.decode import to_text; "
        "to_text(b'<meta charset=koi8-r>', ''); to_text(b'charset \\xe9', ''); "
        "sys.exit(bool({'bs4', 'charset_normalizer'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
