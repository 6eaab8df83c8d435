"""Pages per host: a truncated power law, as crawls of the web show it. Pure.

P(pages = x) ∝ x^-β. Huberman and Adamic (Growth dynamics of the World-Wide Web, Nature 401, 1999)
found β between 1.7 and 1.9 in the crawls of two search engines. With β below 2 the mean has no
bound, so a law with a given mean must end somewhere: that end, the largest host, follows from the
mean and β, and is no assumption of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import msgspec

BETA = 1.8  # the middle of what was found


class Sizes(msgspec.Struct, frozen=True, dict=True):
    """The law for `hosts` hosts with `urls` pages in all; the smallest has one page.

    ValueError when no such law exists: β must lie between 1 and 2, exclusively, and there must be
    more than one page a host.
    """

    hosts: int
    urls: int
    beta: float = BETA

    def __post_init__(self) -> None:
        if not 1 < self.beta < 2:
            raise ValueError(f"beta {self.beta}: must lie between 1 and 2")
        if self.hosts < 1 or self.urls <= self.hosts:
            raise ValueError(f"{self.urls} URLs on {self.hosts} hosts: more than one a host")

    @property
    def mean(self) -> float:
        return self.urls / self.hosts

    @cached_property
    def largest(self) -> float:
        """Pages of the largest host: where the law must end to have its mean."""
        low, high = 1.0 + 1e-9, 2.0
        while self._mean_up_to(high) < self.mean:
            high *= 2
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if self._mean_up_to(middle) < self.mean else (low, middle)
        return high

    def quantile(self, share: float) -> float:
        """The size that this share of the hosts does not exceed."""
        a = self.beta - 1
        rest = 1 - share * (1 - self.largest**-a)
        return float(rest ** (-1 / a))

    def below(self, size: float) -> float:
        """The share of the hosts that are not larger."""
        a = self.beta - 1
        size = min(max(size, 1.0), self.largest)
        return float((1 - size**-a) / (1 - self.largest**-a))

    def capped(self, most: float) -> float:
        """Mean pages a host when of each at most so many count: what is done by a moment."""
        most = min(most, self.largest)
        if most <= 1:
            return max(0.0, most)
        return self._partial(1.0, most) + most * (1 - self.below(most))

    def sample(self, number: int) -> Iterator[int]:
        """A stratified sample: `number` equal strata from small to large, each with its mean size.

        The sizes are whole, and their sum is that of the law to within one page.
        """
        remainder = 0.0
        low = 1.0
        for i in range(1, number + 1):
            high = self.quantile(i / number) if i < number else self.largest
            remainder += number * self._partial(low, high)
            pages = max(1, round(remainder))
            remainder -= pages
            yield pages
            low = high

    def _partial(self, low: float, high: float) -> float:
        """What hosts of sizes between these add to the mean."""
        a = self.beta - 1
        weight = a / (1 - self.largest**-a)
        return float(weight * (high ** (1 - a) - low ** (1 - a)) / (1 - a))

    def _mean_up_to(self, end: float) -> float:
        a = self.beta - 1
        return float(a * (end ** (1 - a) - 1) / ((1 - a) * (1 - end**-a)))
