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
from hypothesis import example, given
from hypothesis import strategies as st

import crawler
from benchmarks.native_build import compile_to
from crawler.config.loader import Settings
from crawler.parse import native
from crawler.parse.simhash import KEPT, MOST, simhash
from crawler.parse.whitespace import BLANKS, joined

SOURCE = Path(native.__file__).with_name("_native.c")
OTHER = "CRAWLER_TEST_SWIFT"
"""Another build of the extension to be tried: the one with sanitizers."""


def compiled() -> Any:
    """Skips all of this file where nothing could be compiled, and only there."""
    name = os.environ.get(OTHER)
    if name is None:
        compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
        if shutil.which(compiler) and Path(sysconfig.get_path("include"), "Python.h").exists():
            return importlib.import_module("crawler.parse._native")  # made by `make .venv/.dev`
        return pytest.importorskip("crawler.parse._native", reason="nothing was compiled here")
    spec = importlib.util.spec_from_file_location("_native", name)
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
    assert SWIFT.MADE_FOR == native.MADE_FOR


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


@pytest.mark.parametrize("loop", ["simhash", "joined"])
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


@pytest.mark.parametrize(("pure", "said"), [("", "compiled loops"), ("1", "pure Python")])
def test_what_runs_is_chosen_once_and_said(pure: str, said: str) -> None:
    pytest.importorskip("crawler.parse._native", reason="nothing was compiled here")
    done = subprocess.run(
        [sys.executable, "-m", "crawler", "--version"],
        env={**os.environ, native.PURE: pure},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"crawler {crawler.__version__} ({said})\n"


def test_a_build_of_another_tree_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("crawler.parse._native", reason="nothing was compiled here")
    monkeypatch.delenv(native.PURE, raising=False)
    assert native._compiled() is module
    monkeypatch.setattr(module, "MADE_FOR", (0, *native.MADE_FOR[1:]))
    assert native._compiled() is None


def test_leaving_it_alone_is_no_setting() -> None:
    Settings().environment({native.PURE: "1"})


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
    made = tmp_path / "_native.so"
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
