"""How every host is treated before it says anything of itself. Pure."""

from __future__ import annotations

import msgspec

from crawler.config.model import PaceConfig


class SlotSettings(msgspec.Struct, frozen=True):
    """How every host is treated before it says anything of itself. Seconds, bytes a second."""

    width: int = 2  # requests at once, at most
    delay: float = 0.25
    jitter: float = 0.0  # ± share of the delay
    adaptive: bool = False
    park_after: int = 0  # failures in a row; 0: never
    park: float = 60.0
    park_most: float = 900.0
    max_parks: int = 6  # in a row; then the crawl's end no longer waits for the host
    rate: int | None = None
    told: bool = False  # pauses begin when `sent` is told, not at the departure


def terms(pace: PaceConfig, concurrency: int) -> SlotSettings:
    """The pace that was asked for; `fast` lifts width, delay and parking, but no byte rate."""
    return SlotSettings(
        width=concurrency if pace.fast else pace.per_host,
        delay=0.0 if pace.fast else pace.delay,
        jitter=pace.jitter,
        adaptive=pace.adaptive and not pace.fast,
        park_after=0 if pace.fast else pace.park_after,
        park=pace.park,
        park_most=pace.park_most,
        max_parks=pace.max_parks,
        rate=pace.host_rate,
        told=True,
    )
