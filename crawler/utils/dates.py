"""Dates in headers, as Unix time: always GMT, whatever the machine's time zone. Pure."""

from __future__ import annotations

import calendar
import re
from email.utils import parsedate_tz
from typing import Final


def http_date(value: str) -> float | None:
    """One of the three forms of RFC 9110 §5.6.7, or what senders make of them; None: no date.

    A zone that is written (`+0200`) counts; where none is, as in asctime's form, it is GMT.
    """
    parsed = parsedate_tz(value)
    if parsed is None:
        return None
    try:
        return float(calendar.timegm(parsed[:6]) - (parsed[9] or 0))
    except (ValueError, OverflowError):  # a month of 40 days, a year beyond the calendar
        return None


def cookie_date(value: str) -> float | None:
    """The Expires of a cookie by the algorithm of RFC 6265 §5.1.1; None: it has none to it.

    The first token of each kind counts, in any order; zones are not looked at.
    """
    time = day = month = year = None
    for token in _TOKEN.findall(value):
        if time is None and (found := _TIME.match(token)):
            time = int(found[1]), int(found[2]), int(found[3])
        elif day is None and (found := _DAY.match(token)):
            day = int(found[1])
        elif month is None and (name := token[:3].lower()) in _MONTHS:
            month = _MONTHS.index(name) + 1
        elif year is None and (found := _YEAR.match(token)):
            year = int(found[1])
            if year < 100:
                year += 1900 if year >= 70 else 2000
    if time is None or day is None or month is None or year is None:
        return None
    if year < 1601 or time > (23, 59, 59) or time[1] > 59 or time[2] > 59:
        return None
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return float(calendar.timegm((year, month, day, *time)))


_TOKEN: Final = re.compile(r"[^\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME: Final = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?!\d)", re.ASCII)
_DAY: Final = re.compile(r"(\d{1,2})(?!\d)", re.ASCII)
_YEAR: Final = re.compile(r"(\d{2,4})(?!\d)", re.ASCII)
_MONTHS: Final = (
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
)  # fmt: skip
