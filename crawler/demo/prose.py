"""The prose of the demo web: words, paragraphs and page sizes, all drawn from a seed. Pure."""

from __future__ import annotations

import math
from functools import lru_cache
from random import Random
from statistics import NormalDist

import msgspec

_WORDS = """
amber anchor apple arch ash autumn badge bamboo basin beacon birch bloom boat branch brick bridge
brook cabin canal candle canyon cedar chalk chapel cherry cliff cloud clover coast comet copper
coral cotton crane creek crystal dawn delta desert dome dove drift dune dusk eagle ember engine
falcon feather fern field flame flint flora forest fossil fox frost galaxy garden garnet glacier
globe grain granite grove gull harbor harvest hawk hazel heron hill hollow honey horizon island
ivory jade jasper juniper kelp kettle lagoon lake lantern lark laurel leaf lemon lichen lily linen
loom lotus lunar maple marble marsh meadow mesa mill mint mirror mist moon moss mountain nectar
north oak oasis ocean olive onyx opal orbit orchard otter owl pearl pebble pepper pine plain
planet plum pond poppy prairie quartz quill rain raven reed reef ridge river robin rock root rose
ruby saddle sage sail salt sand shell shore silver sky slate snow solar south spark spring spruce
star stone storm stream summer summit sun swan thistle thunder tide timber topaz tower trail tulip
valley velvet violet walnut water wave west wheat willow wind winter wolf wren yarrow zenith
"""
WORDS = tuple(_WORDS.split())
FOREIGN = ("café", "naïve", "Straße", "façade", "œuvre", "Łódź", "東京", "мир", "—", "“so”")
"""Sprinkled in, so that a wrong guess of the charset shows."""

PARAGRAPHS = 192
SLUGS = 1024  # a power of two: chosen by a mask
STEPS = 1024


class Prose(msgspec.Struct, frozen=True):
    """Text ready to be cut: any run of whole paragraphs is one slice.

    `text` holds the paragraphs twice over, `starts[i]` is where paragraph i begins; a run may so
    begin at any of the first half and be up to the length of one half.
    """

    text: bytes
    starts: tuple[int, ...]
    slugs: tuple[str, ...]
    titles: tuple[str, ...]

    @property
    def half(self) -> int:
        """The length of all paragraphs, once, in bytes."""
        return len(self.text) // 2


@lru_cache(maxsize=8)
def prose(seed: int) -> Prose:
    """All the text of one web, about 200 KB; the same for the same seed, in every process."""
    random = Random(seed)
    blocks = [_paragraph(random, number) for number in range(PARAGRAPHS)]
    starts, at = [], 0
    for block in blocks:
        starts.append(at)
        at += len(block)
    pairs = [(random.choice(WORDS), random.choice(WORDS)) for _ in range(SLUGS)]
    return Prose(
        text=b"".join(blocks) * 2,
        starts=tuple(starts),
        slugs=tuple(f"{one}-{two}" for one, two in pairs),
        titles=tuple(f"{one.capitalize()} {two}" for one, two in pairs),
    )


def _paragraph(random: Random, number: int) -> bytes:
    sentences = []
    for _ in range(random.randint(2, 9)):
        words = random.choices(WORDS, k=random.randint(5, 18))
        if random.random() < 0.2:
            words[random.randrange(len(words))] = random.choice(FOREIGN)
        sentences.append(" ".join(words).capitalize() + ".")
    heading = f"<h2>{sentences[0][:-1]}</h2>\n" if number % 4 == 0 else ""
    return f"{heading}<p>{' '.join(sentences)}</p>\n".encode()


@lru_cache(maxsize=8)
def sizes(spread: float) -> tuple[float, ...]:
    """A log-normal distribution as equally likely factors whose mean is 1.

    `spread` is the standard deviation of the logarithm; 0 makes all pages equal. The web at large
    has about 1; the tails are cut at one in two thousand.
    """
    normal = NormalDist()
    raw = [math.exp(spread * normal.inv_cdf((i + 0.5) / STEPS)) for i in range(STEPS)]
    mean = sum(raw) / STEPS
    return tuple(factor / mean for factor in raw)
