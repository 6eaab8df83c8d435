"""What is compiled gives what Python gives, for every text there is."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import crawler
from crawler.bench.compiled import compile_to
from crawler.parse import bounds, swift
from crawler.parse.simhash import KEPT, MOST, simhash
from crawler.parse.spaces import BLANKS, joined
from crawler.settings import Settings

SOURCE = Path(swift.__file__).with_name("_swift.c")
OTHER = "CRAWLER_TEST_SWIFT"
"""Another build of the extension to be tried: the one with sanitizers."""


def compiled() -> Any:
    """Skips all of this file where nothing could be compiled, and only there."""
    name = os.environ.get(OTHER)
    if name is None:
        compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
        if shutil.which(compiler) and Path(sysconfig.get_path("include"), "Python.h").exists():
            return importlib.import_module("crawler.parse._swift")  # made by `make .venv/.dev`
        return pytest.importorskip("crawler.parse._swift", reason="nothing was compiled here")
    spec = importlib.util.spec_from_file_location("_swift", name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SWIFT = compiled()

# Every kind of string, lone surrogates and NULs among them, and much of what the loops look for.
TEXT = st.one_of(
    st.text(),
    st.text(st.characters(codec=None, exclude_categories=())),
    st.text(st.sampled_from([*"tsaiobZ 0189<>/!-\0\x7f\xe9я漢\ud800\U0001f600", *BLANKS])),
    st.text(st.characters(max_codepoint=0xFF)),
)
WORDS = st.sampled_from(
    ["the", "a", "is", "t", "x", "2024-01-02", "été", "страница", "漢字", "\ud800", "\0", "t\tt"]
)
LONG = st.tuples(
    st.lists(st.tuples(WORDS, st.text("abcst019é", max_size=6)), max_size=40),
    st.integers(1, 60),
    st.sampled_from([" ", "  ", "\n", " \u2003"]),
).map(
    lambda made: made[2].join(f"{word}{tail}{n}" for n in range(made[1]) for word, tail in made[0])
)
"""Up to beyond what a simhash looks at, with more and fewer pairs than it keeps."""


def test_it_was_made_for_this_tree() -> None:
    assert SWIFT.MADE_FOR == swift.MADE_FOR


@given(st.one_of(TEXT, LONG))
@example("")
@example(" \t\n")
@example("t t t")
@example("the  cat")  # a double space, and so every blank counts
@example("x" * MOST + " the end")
@example("\ud800" * MOST)
@example(" ".join(f"t{n} word" for n in range(KEPT)))
@example(" ".join(f"t{n} word" for n in range(KEPT - 1)) + " so it is")
def test_simhash(text: str) -> None:
    assert SWIFT.simhash(text) == simhash(text)


@given(st.lists(TEXT, max_size=8))
@example([])
@example([""])
@example(["a\u2028"])  # the only wide character is white space: the result is narrow
@example(["a", "\U0001f600", "я", "b"])
@example([" " * 5000, "я" * 5000, " x" * 5000])
def test_joined(strings: list[str]) -> None:
    expected = joined(strings)
    got = SWIFT.joined(iter(strings))
    assert got == expected == " ".join(" ".join(strings).split())
    assert got.isascii() == expected.isascii()  # canonical, or nothing would be equal to it
    assert sys.getsizeof(got) <= sys.getsizeof("".join([*expected]))


TAGS = st.sampled_from(
    [
        "<div>", "</div>", "<DIV a=1>", "<p>", "</P>", "<colgroup>", "</colgroups>", "<x-y9>",
        "<9>", "</", "<", "< div>", "<!-- -->", "<й>", "<\u212a>", "<div", "é", "я",
        "\U0001f600", "\0",
        "<a " + "b" * 500, "c" * bounds.LONG_TAG, "c" * (bounds.LONG_TAG - 1), ">", "'>'",
    ]
)  # fmt: skip
PARTS = st.lists(st.tuples(TAGS, st.sampled_from([1, 2, 999, 1001, 2001, 12_000])), max_size=6)


@settings(deadline=None, max_examples=60)  # some are long
@given(st.one_of(TEXT, PARTS.map(lambda parts: "".join(tag * times for tag, times in parts))))
@example("<" * (bounds.MAX_TAGS + 1))
@example("<p>" * (bounds.MAX_TAGS + 1))
@example("<p></p>" * (bounds.MAX_TAGS // 2))
@example("x" * (bounds.LARGE + 1))
@example("<p b c>" * bounds.MAX_TAGS)
@example("<p b c>" * bounds.MAX_TAGS + " " * bounds.LARGE)
@example("<p b c d>" * bounds.MAX_TAGS)
@example("<a" + " b" * 3000)  # to the end, and no `>`
@example("\0" * (bounds.MAX_NULS + 1))
@example("</div>" * 11_000)
@example("<div>" * 1000 + "</b>" * 3000 + "<b>" * 7001)
def test_within_bounds(text: str) -> None:
    """What is said to be within bounds is; and what is not said so, but is, is a rare case."""
    problems: list[str] = []
    kept = bounds.within_bounds(text, problems)
    if SWIFT.within(text):
        assert kept is text
        assert not problems
    if len(text) < bounds.LONG_TAG and text.count("\0") <= bounds.MAX_NULS:
        assert SWIFT.within(text)


@pytest.mark.parametrize("name", sorted(bounds._NO_DEPTH))
def test_what_does_not_nest(name: str) -> None:
    for tag in (name, name.upper()):
        assert SWIFT.within(f"<{tag} class=x>" * 20_000)
    for tag in (f"{name}x", f"{name}-", f"x{name}", name[:-1] or "x"):
        nests = tag not in bounds._NO_DEPTH
        assert SWIFT.within(f"<{tag}>" * 20_000) != nests
        assert SWIFT.within(f"</{tag}>" * 20_000) != nests


@pytest.mark.parametrize("inside", [" b c\xa0d e ", "\xa0b\u2003c\td e", "\U0001f600 b c \u3000d"])
def test_attributes_are_counted_above_a_size(inside: str) -> None:
    """A tag's words less one, which makes a `<p>` less than none."""
    tag, number = f"<p{inside}>", bounds.MOST_ATTRIBUTES // 3
    for tail in ("", "x" * bounds.LARGE):
        for most in (tag * number, "<p>" * 3 + tag * (number + 1)):
            assert SWIFT.within(most + tail)
            assert bounds.within_bounds(most + tail, []) == most + tail
            assert SWIFT.within(most + tag + tail) == (not tail)


def test_depth_is_what_stays_open() -> None:
    most = bounds.MAX_DEPTH
    for character in ("", "é", "я", "\U0001f600"):
        flat = "<div><b></b></div>" * 5000 + character
        assert SWIFT.within(flat)
        assert SWIFT.within(flat + "<i>" * most)
        assert not SWIFT.within(flat + "<i>" * (most + 1))
        assert not SWIFT.within("<i>" * (most + 1) + flat)


@pytest.mark.parametrize("loop", ["simhash", "joined", "within"])
@pytest.mark.parametrize("given", [None, 1, b"bytes", [b"bytes"], ["a", None]])
def test_what_is_no_text_is_a_type_error(loop: str, given: Any) -> None:
    with pytest.raises(TypeError):
        getattr(SWIFT, loop)(given)


def broken() -> Iterator[str]:
    yield "a"
    raise ValueError("no more")


def test_a_failure_of_what_is_joined_comes_through() -> None:
    with pytest.raises(ValueError, match="no more"):
        SWIFT.joined(broken())


def test_a_very_long_text() -> None:
    for piece in ("word \n ", "été \xa0 ", "слово  ", "\U0001f600 \u2003"):
        strings = [piece * 100_000, piece * 3]
        assert SWIFT.joined(strings) == joined(strings)
        assert SWIFT.simhash(strings[0]) == simhash(strings[0])
        assert SWIFT.within(strings[0])


@pytest.mark.parametrize(("pure", "said"), [("", "compiled loops"), ("1", "pure Python")])
def test_what_runs_is_chosen_once_and_said(pure: str, said: str) -> None:
    pytest.importorskip("crawler.parse._swift", reason="nothing was compiled here")
    done = subprocess.run(
        [sys.executable, "-m", "crawler", "--version"],
        env={**os.environ, swift.PURE: pure},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"crawler {crawler.__version__} ({said})\n"


def test_a_build_of_another_tree_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("crawler.parse._swift", reason="nothing was compiled here")
    monkeypatch.delenv(swift.PURE, raising=False)
    assert swift._compiled() is module
    monkeypatch.setattr(module, "MADE_FOR", (0, *swift.MADE_FOR[1:]))
    assert swift._compiled() is None


def test_leaving_it_alone_is_no_setting() -> None:
    Settings().environment({swift.PURE: "1"})


CHECKED = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined",
           "-fno-sanitize-recover=all")  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_undefined(tmp_path: Path) -> None:
    """All of the above once more, with each access and each sum checked (gcc, on Linux)."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
    if sys.platform != "linux" or shutil.which(compiler) is None:
        pytest.skip("needs Linux and a compiler")
    library = subprocess.run(
        [compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(library).is_absolute():
        pytest.skip("the compiler has no libasan")
    made = tmp_path / "_swift.so"
    compile_to(SOURCE, made, *CHECKED)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-m",
            "not slow",
            __file__,
        ],
        env={
            **os.environ,
            OTHER: str(made),
            "LD_PRELOAD": library,
            "ASAN_OPTIONS": "detect_leaks=0",  # Python's own, at its end
            "PYTHONMALLOC": "malloc",  # each piece of memory its own, so that its ends are seen
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert " passed" in done.stdout
