"""What rules and plugins did, page by page summed up, and the sentence that says so. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from crawler.records import PluginRun
from crawler.utils.units import amount, counted

MAX_ERRORS = 20
"""Different errors that are told apart; the others are summed up under `OTHERS`."""

OTHERS = "others"


class PluginStats(msgspec.Struct):
    """What one rule or plugin did. `kind` is "rule" or "plugin".

    `pages` are the HTML pages read, `fitting` those whose URL a rule's `match` fits (all of them
    where there is none), `matched` those it took a record or link from, `failed` those it failed
    on. `errors` counts failures by what was said.
    """

    kind: str
    name: str
    pages: int = 0
    fitting: int = 0
    matched: int = 0
    failed: int = 0
    errors: dict[str, int] = {}

    @property
    def failed_always(self) -> bool:
        """It failed on every page that it was run on."""
        return 0 < self.failed == self.fitting


def add_page(sums: list[PluginStats], ran: Sequence[PluginRun]) -> None:
    """Count a page. All rules and plugins run on each, in the same order: two of the same name
    are told apart by their place.
    """
    for place, one in enumerate(ran):
        if place == len(sums):
            sums.append(PluginStats(one.kind, one.name))
        total = sums[place]
        total.pages += 1
        total.fitting += one.fits
        total.matched += one.took
        if one.error:
            total.failed += 1
            _add_error(total.errors, one.error, 1)


def joined(several: Iterable[Sequence[PluginStats]]) -> tuple[PluginStats, ...]:
    """The sums of several processes that have the same rules and plugins."""
    joint: list[PluginStats] = []
    for sums in several:
        for place, one in enumerate(sums):
            if place == len(joint):
                joint.append(PluginStats(one.kind, one.name))
            total = joint[place]
            total.pages += one.pages
            total.fitting += one.fitting
            total.matched += one.matched
            total.failed += one.failed
            for error, number in one.errors.items():
                _add_error(total.errors, error, number)
    return tuple(joint)


def sentences(sums: Iterable[PluginStats]) -> list[str]:
    """One for each that failed, and for each rule that matched nothing: in one line each."""
    return [said for one in sums if (said := _sentence(one))]


def _sentence(one: PluginStats) -> str:
    which = f"{one.kind} {one.name}"
    if one.failed:
        error = max(one.errors, key=lambda error: (error != OTHERS, one.errors[error]))
        others = " (and other errors)" if len(one.errors) > 1 else ""
        where = counted(one.fitting, "page")
        if one.fitting < one.pages:
            where += " that its match fits"
        return f"{which} failed on {amount(one.failed)} of {where}: {error}{others}"
    if one.kind == "rule" and one.pages and not one.matched:
        why = "" if one.fitting else ": its match fits none of their URLs"
        return f"{which} matched on 0 of {counted(one.pages, 'page')}{why}"
    return ""


def _add_error(errors: dict[str, int], error: str, number: int) -> None:
    key = error if error in errors or len(errors) < MAX_ERRORS else OTHERS
    errors[key] = errors.get(key, 0) + number
