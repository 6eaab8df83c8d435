"""Simulate AutoThrottle: `python -m benchmarks.autothrottle_model > FILE.svg` draws the chart.

A deterministic simulation of the real `AutoThrottle` and `Slot` against a queueing model of a
server: it works at `cores` requests at once, each for `service` seconds; others queue; with
`capacity` requests in the server, it answers 503 at once. Fixed widths are simulated too: they show
the throughput that was possible.
"""

from __future__ import annotations

import heapq
import random
import sys

import msgspec

from crawler.frontier.scheduling.slot import Reservation, Slot
from crawler.frontier.scheduling.slot_settings import SlotSettings
from crawler.policy.autothrottle import ResponseSample


class KneeModel(msgspec.Struct, frozen=True):
    """A server. Seconds. `spread`: deviation of the service time's logarithm; 0: all alike."""

    cores: int = 8
    service: float = 0.1
    capacity: int = 24
    network: float = 0.02  # there and back
    spread: float = 0.3
    slower: float = 1.0  # the work grows by this factor from `slower_at` on
    slower_at: float = float("inf")


class KneeRun(msgspec.Struct):
    """What a crawl of the model showed: answers and errors, and the width over time."""

    seconds: float
    served: int = 0
    refused: int = 0
    widths: list[tuple[float, int]] = msgspec.field(default_factory=list)
    latencies: list[tuple[float, float]] = msgspec.field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.served / self.seconds

    @property
    def share_refused(self) -> float:
        return self.refused / max(1, self.served + self.refused)


def simulate(
    model: KneeModel, terms: SlotSettings, seconds: float = 60.0, seed: int = 1
) -> KneeRun:
    """Crawl the model for so long, as fast as the slot allows; the same every time."""
    rng = random.Random(seed)
    slot, run = Slot("model", terms), KneeRun(seconds)
    cores = [0.0] * model.cores  # when each is free
    heapq.heapify(cores)
    leaving: list[float] = []  # ends of what is in the house
    back: list[tuple[float, int, Reservation, ResponseSample]] = []
    now, number = 0.0, 0
    while now < seconds:
        while slot.in_flight < slot.width and slot.due <= now:
            number += 1
            end, sample = _answer(model, now, cores, leaving, rng)
            heapq.heappush(back, (end, number, slot.depart(now), sample))
        waits = [back[0][0]] if back else []
        if slot.in_flight < slot.width:
            waits.append(slot.due)
        now = min(waits)
        while back and back[0][0] <= now:
            end, _, reservation, sample = heapq.heappop(back)
            slot.back(reservation, end, sample)
            run.refused += sample.strained
            run.served += not sample.strained
            if sample.seconds is not None:
                run.latencies.append((end, sample.seconds))
            if not run.widths or run.widths[-1][1] != slot.width:
                run.widths.append((end, slot.width))
    return run


def _answer(
    model: KneeModel, now: float, cores: list[float], leaving: list[float], rng: random.Random
) -> tuple[float, ResponseSample]:
    """When the answer is here, and what it shows."""
    arrived = now + model.network / 2
    while leaving and leaving[0] <= arrived:
        heapq.heappop(leaving)
    if len(leaving) >= model.capacity:
        return now + model.network, ResponseSample(strained=True, failed=True)
    work = model.service * rng.lognormvariate(0.0, model.spread)
    if now >= model.slower_at:
        work *= model.slower
    done = max(arrived, heapq.heappop(cores)) + work
    heapq.heappush(cores, done)
    heapq.heappush(leaving, done)
    end = done + model.network / 2
    return end, ResponseSample(end - now, failed=False)


# ── the chart ────────────────────────────────────────────────────────────────────────────────

WIDTHS = (1, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32, 48, 64)
ADAPTIVE = SlotSettings(width=64, delay=0.0, adaptive=True)
SECONDS = 120.0

_STYLE = (
    "text{font:12px sans-serif;fill:#333}.t{font-weight:bold}.a{stroke:#999;fill:none}"
    ".g{stroke:#2a7;fill:none;stroke-width:2}.r{stroke:#c33;fill:none;stroke-width:2}"
    ".w{stroke:#25c;fill:none;stroke-width:1.5}.d{stroke:#aaa;stroke-dasharray:4 3}"
)


def chart() -> str:
    """Two panels: what each fixed width gets out of the model; the adaptive width over time."""
    model = KneeModel()
    fixed = [simulate(model, SlotSettings(width=width, delay=0.0), SECONDS) for width in WIDTHS]
    run = simulate(model, ADAPTIVE, SECONDS)
    best = max(one.per_second for one in fixed)
    left, right = Panel(50, 64.0, 100.0), Panel(450, SECONDS, 64.0)
    served = [(float(w), one.per_second) for w, one in zip(WIDTHS, fixed, strict=True)]
    refused = [(float(w), 100 * one.share_refused) for w, one in zip(WIDTHS, fixed, strict=True)]
    summary = (
        f"{run.per_second:.1f} answers/s, {run.per_second / best:.0%} of the best, "
        f"{run.share_refused:.2%} refused"
    )
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 300" role="img">',
        f"<title>{summary}</title><style>{_STYLE}</style>",
        '<rect width="820" height="300" fill="#fff"/>',
        *left.frame("fixed widths: answers/s (green), % refused (red)", "requests at once"),
        left.line("g", served),
        left.line("r", refused),
        left.across(run.per_second),
        left.text(38, run.per_second - 8, "dashed: adaptive"),
        *right.frame("adaptive width over time", "seconds"),
        right.text(6, 58, summary),
        right.line("w", _steps(run.widths, SECONDS)),
        right.across(float(model.cores)),
        right.text(84, model.cores - 5, f"served at once: {model.cores}"),
        right.across(float(model.capacity)),
        right.text(84, model.capacity + 2, f"room before 503: {model.capacity}"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class Panel(msgspec.Struct, frozen=True):
    """Axes from zero, 320 × 200 pixels, from `x` on."""

    x: int
    most_x: float
    most_y: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.x + 320 * x / self.most_x, 250 - 200 * y / self.most_y

    def line(self, kind: str, points: list[tuple[float, float]]) -> str:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))
        return f'<polyline class="{kind}" points="{path}"/>'

    def across(self, y: float) -> str:
        (x1, y1), (x2, _) = self.at(0, y), self.at(self.most_x, y)
        return f'<line class="d" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y1:.1f}"/>'

    def text(self, x: float, y: float, text: str) -> str:
        px, py = self.at(x, y)
        return f'<text x="{px:.1f}" y="{py:.1f}">{text}</text>'

    def frame(self, title: str, below: str) -> list[str]:
        marks = [
            f'<text x="{self.x - 8}" y="{self.at(0, y)[1] + 4:.0f}" text-anchor="end">{y:g}</text>'
            for y in (0, self.most_y / 2, self.most_y)
        ] + [
            f'<text x="{self.at(x, 0)[0]:.0f}" y="266" text-anchor="middle">{x:g}</text>'
            for x in (0, self.most_x / 2, self.most_x)
        ]
        return [
            f'<text class="t" x="{self.x}" y="30">{title}</text>',
            f'<polyline class="a" points="{self.x},50 {self.x},250 {self.x + 320},250"/>',
            f'<text x="{self.x + 160}" y="286" text-anchor="middle">{below}</text>',
            *marks,
        ]


def _steps(widths: list[tuple[float, int]], end: float) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for when, width in widths:
        if points:
            points.append((when, points[-1][1]))
        points.append((when, float(width)))
    return [*points, (end, points[-1][1])]


if __name__ == "__main__":
    sys.stdout.write(chart())
