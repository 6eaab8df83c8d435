"""The fingerprint in which near texts are near."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from crawler.parse.simhash import KEPT, _majority, simhash
from crawler.policy.trap_rules import NEAR


def words(seed: int, number: int) -> list[str]:
    dice = random.Random(seed)
    return ["".join(dice.choices("abcdefghijklmnop", k=6)) for _ in range(number)]


def bits(one: str, other: str) -> int:
    left, right = simhash(one), simhash(other)
    assert left is not None
    assert right is not None
    return (left ^ right).bit_count()


@given(st.text())
def test_any_text_has_64_bits_or_none(text: str) -> None:
    text = " ".join(text.split())  # as the reader has it
    value = simhash(text)
    assert (value is None) == (not text)
    assert value is None or 0 <= value < 1 << 64
    assert value == simhash(text)


@given(st.text(alphabet="ab 0", min_size=1), st.integers(2, 5))
def test_spaces_and_digits_do_not_count(text: str, spaces: int) -> None:
    assert simhash(text) == simhash(text.replace("0", "7").replace(" ", " " * spaces))


@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=KEPT))
def test_a_bit_is_what_more_than_half_have(rows: list[int]) -> None:
    for at in range(64):
        ones = sum(row >> at & 1 for row in rows)
        assert _majority(rows) >> at & 1 == (2 * ones > len(rows))


def test_a_page_of_a_calendar_is_like_the_next() -> None:
    page = "Calendar {0} previous month next month {0}-01 {0}-02 {0}-03 no events"
    assert simhash(page.format("2024-01")) == simhash(page.format("1999-12"))


def test_different_texts_are_far_and_a_changed_word_is_near() -> None:
    far = [bits(" ".join(words(a, 400)), " ".join(words(a + 1, 400))) for a in range(0, 60, 2)]
    assert min(far) > 4 * NEAR
    near = []
    for seed in range(30):
        text = words(seed, 1500)
        changed = [*text[:700], "elsewhere", *text[701:]]
        near.append(bits(" ".join(text), " ".join(changed)))
    assert sum(distance <= NEAR for distance in near) >= 24


def test_repetition_does_not_drown_the_rest() -> None:
    table = "| " * 3000
    assert bits(table + " ".join(words(1, 300)), table + " ".join(words(2, 300))) > NEAR


def test_the_sample_has_no_edge() -> None:
    """Where frequent beginnings are just too few, and then are not, the sample changes little."""
    steps = [
        bits(" ".join(text[:number]), " ".join(text[: number + 8]))
        for text in (words(seed, 8 * KEPT) for seed in range(20))
        for number in range(4 * KEPT, 7 * KEPT, 8)
    ]
    steps.sort()
    assert steps[len(steps) // 2] <= 2 * NEAR
    assert steps[-1] <= 6 * NEAR


def test_a_menu_in_latin_letters_does_not_speak_for_another_script() -> None:
    menu = " ".join(words(1, 600))
    russian = str.maketrans("abcdefghijklmnop", "абвгдежзийклмноп")
    pages = [" ".join(words(seed, 400)).translate(russian) for seed in range(2, 12)]
    assert min(bits(f"{menu} {one}", f"{menu} {two}") for one, two in pairwise(pages)) > NEAR
