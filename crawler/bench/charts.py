"""Numbers in, SVG text out: line charts, and bars that may be stacked. Pure, and no script inside.

    page = f"<style>{STYLE}</style>{lines([Series('a', ((1, 2), (4, 8)))], title='…', y='pages/s')}"
    alone(svg)   the same with its style inside, as a file of its own

Colours are CSS variables with a light and a dark set, so that one drawing fits the page it is in.
Why not a library: docs/decisions/0025-charts.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final

import msgspec

from crawler.bench.chart_scales import ZERO_BELOW, Scale, spread_out, ticks, to_pixels

_LIGHT: Final = (
    "--chart-ink:#1b1f24;--chart-dim:#626c78;--chart-grid:#e3e6ea;--chart-paper:#fff;"
    "--chart-1:#0b6bcb;--chart-2:#d1570b;--chart-3:#17835a;--chart-4:#a3318f;"
    "--chart-5:#8a6d00;--chart-6:#c02f3f;--chart-7:#5a52c9;--chart-8:#5b6673;"
)
_DARK: Final = (
    "--chart-ink:#e8ebef;--chart-dim:#98a3b0;--chart-grid:#2b323b;--chart-paper:#12161b;"
    "--chart-1:#5aa9ff;--chart-2:#ff9a52;--chart-3:#4cc795;--chart-4:#e57fd3;"
    "--chart-5:#d9b83c;--chart-6:#ff7d88;--chart-7:#a7a0ff;--chart-8:#a5b0bd;"
)
STYLE: Final = (
    f":root{{{_LIGHT}}}@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    ".chart{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;"
    "max-width:100%;height:auto;display:block}"
    ".chart text{fill:var(--chart-dim)}.chart .title{fill:var(--chart-ink);font-weight:600;"
    "font-size:15px}.chart .name{fill:var(--chart-ink)}.chart .strong{font-weight:700}"
    ".chart .grid{stroke:var(--chart-grid)}.chart .axis{stroke:var(--chart-dim)}"
    ".chart .line{fill:none;stroke-width:2;stroke-linejoin:round}.chart .line.strong"
    "{stroke-width:3.5}.chart .band{opacity:.14}.chart .spread{stroke:var(--chart-ink);opacity:.55}"
)
"""Once a page."""

COLOURS: Final = 8
WIDTH: Final = 720
LINE: Final = 17  # pixels that a line of text takes
DOTS_MAX: Final = 24  # points of a line that get a dot each
LETTER: Final = 7.1  # pixels of a letter, on the wide side


class ChartSeries(msgspec.Struct, frozen=True):
    """A line: points by ascending x, with a (low, high) for each point when `spread` is given.

    `colour` is 1 … 8; None: by its place. A `strong` line is drawn thicker, above the others.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    spread: tuple[tuple[float, float], ...] = ()
    strong: bool = False
    colour: int | None = None


class ChartBar(msgspec.Struct, frozen=True):
    """A bar of stacked parts (one: a plain bar), with a (low, high) for the whole if known."""

    name: str
    parts: tuple[float, ...]
    spread: tuple[float, float] | None = None
    strong: bool = False
    note: str = ""  # beside the figure


def number(value: float) -> str:
    """A figure as people write it: three digits that count, thousands apart."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1_000_000:
        return f"{value / 1_000_000:.3g}M"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if size >= 0.001 else f"{value:.1e}"


def lines(
    series: Sequence[ChartSeries],
    *,
    title: str,
    x: str = "",
    y: str = "",
    x_scale: Scale = "linear",
    y_scale: Scale = "linear",
    show_x: Callable[[float], str] = number,
    height: int = 340,
) -> str:
    """A line chart, the names at the lines' ends. Points that a log scale cannot show are left out.

    Nothing to draw gives a chart that says so.
    """
    series = [one for one in map(_shown(x_scale, y_scale), series) if one.points]
    if not series:
        return _frame(title, 80, _text(16, 58, "no figures"))
    right = 26 + LETTER * max(len(one.name) for one in series)
    box = _Box(64, 58, WIDTH - right, height - 46)
    xs = sorted({point[0] for one in series for point in one.points})
    ys = [y for one in series for _, *rest in _rows(one) for y in rest]
    low = min(ys) if y_scale == "log" else min(0.0, *ys)
    marks_y = ticks(low, max(ys), log=y_scale == "log")
    few = len(xs) <= 8
    marks_x = xs if x_scale == "steps" or few else ticks(xs[0], xs[-1], log=x_scale == "log")
    if x_scale != "steps" and not few:
        marks_x = [mark for mark in marks_x if xs[0] <= mark <= xs[-1]] or [xs[0], xs[-1]]
    to_x = to_pixels(box.left, box.right, xs, x_scale)
    to_y = to_pixels(box.bottom, box.top, [min(low, marks_y[0]), max(*ys, marks_y[-1])], y_scale)
    out = [
        _text(16, box.top - 12, y),
        *_grid(box, [(to_y(mark), number(mark)) for mark in marks_y]),
    ]
    out += [_text(to_x(mark), box.bottom + 20, show_x(mark), "middle") for mark in marks_x]
    axis = _both("y", box.bottom)
    out.append(f'<line class="axis" x1="{box.left}" x2="{box.right:.0f}" {axis}/>')
    out.append(_text((box.left + box.right) / 2, box.bottom + 38, x, "middle"))
    ends = spread_out([to_y(one.points[-1][1]) for one in series], LINE, box.top, box.bottom)
    order = sorted(range(len(series)), key=lambda at: series[at].strong)
    for at in order:
        one = series[at]
        path = [(to_x(px), to_y(py)) for px, py in one.points]
        band = [(to_y(low), to_y(high)) for low, high in one.spread]
        tips = [f"{one.name}: {number(py)} at {show_x(px)}" for px, py in one.points]
        out += _line(one, _colour(one.colour or at + 1), path, band, tips)
        out.append(
            _line_name(one, _colour(one.colour or at + 1), path[-1], box.right + 12, ends[at])
        )
    return _frame(title, height, *out)


def _grid(box: _Box, marks: Sequence[tuple[float, str]]) -> Iterator[str]:
    """Horizontal lines at pixels with their labels."""
    for at, label in marks:
        yield f'<line class="grid" x1="{box.left}" x2="{box.right:.0f}" {_both("y", at)}/>'
        yield _text(box.left - 8, at + 4, label, "end")


def _line(
    one: ChartSeries,
    colour: str,
    path: Sequence[tuple[float, float]],
    band: Sequence[tuple[float, float]],
    tips: Sequence[str],
) -> Iterator[str]:
    """A series in pixels: its band, its line, and a dot with a tooltip for each of few points."""
    if band:
        upper = [(x, high) for (x, _), (_, high) in zip(path, band, strict=True)]
        lower = [(x, low) for (x, _), (low, _) in zip(path, band, strict=True)]
        ring = _path([*upper, *reversed(lower)])
        yield f'<polygon class="band" fill="{colour}" points="{ring}"/>'
    strong = " strong" * one.strong
    yield f'<polyline class="line{strong}" stroke="{colour}" points="{_path(path)}"/>'
    if len(path) <= DOTS_MAX:
        for (cx, cy), tip in zip(path, tips, strict=True):
            yield (
                f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{4 if one.strong else 3}" '
                f'fill="{colour}"><title>{escape(tip)}</title></circle>'
            )


def _line_name(one: ChartSeries, colour: str, last: tuple[float, float], x: float, y: float) -> str:
    """The name of a series at (x, y), joined to its last point."""
    return (
        f'<line x1="{last[0] + 4:.1f}" y1="{last[1]:.1f}" x2="{x - 3:.1f}" y2="{y:.1f}" '
        f'stroke="{colour}" opacity=".5"/><text x="{x:.1f}" y="{y + 4:.1f}" '
        f'class="name{" strong" * one.strong}" style="fill:{colour}">{escape(one.name)}</text>'
    )


def bars(
    bars: Sequence[ChartBar],
    *,
    title: str,
    unit: str = "",
    parts: Sequence[str] = (),
    note: str = "",
) -> str:
    """Horizontal bars with their figures; `parts` names the stacked parts in a legend.

    `note` is a second, quieter line below the title.
    """
    if not bars:
        return _frame(title, 80, _text(16, 58, "no figures"))
    left = 26 + LETTER * max(len(one.name) * (1.12 if one.strong else 1) for one in bars)
    legend_y = 46 + 20 * bool(note)
    top = legend_y + 4 + 24 * bool(parts)
    notes = max(len(one.note) + len(number(sum(one.parts))) for one in bars)
    right = WIDTH - 24 - LETTER * (notes + 1)
    most = max(max(sum(one.parts), (one.spread or (0, 0))[1]) for one in bars) or 1.0
    to_x = to_pixels(left, right, [0.0, most], "linear")
    out = [_text(16, 46, note), *_legend(parts, left, legend_y)]
    for row, one in enumerate(bars):
        y = top + 26 * row
        kind = f"name{' strong' * one.strong}"
        out.append(_text(left - 10, y + 14, one.name, "end", kind=kind))
        out += _stack(one, y, to_x, parts, unit)
        total = end = sum(one.parts)
        if one.spread and one.spread[0] < one.spread[1]:
            low, high = one.spread
            end = max(total, high)
            x1, x2 = to_x(max(low, 0.0)), to_x(high)
            out.append(
                f'<path class="spread" fill="none" d="M{x1:.1f} {y + 5}v9M{x2:.1f} {y + 5}v9'
                f'M{x1:.1f} {y + 9.5}H{x2:.1f}"/>'
            )
        figure = f"{number(total)} {one.note}".strip()
        out.append(_text(to_x(end) + 7, y + 14, figure, kind=kind))
    shown = f"{title}, {unit}" if unit else title
    return _frame(shown, top + 26 * len(bars) + 12, *out)


def _legend(parts: Sequence[str], x: float, y: float) -> Iterator[str]:
    for at, name in enumerate(parts):
        yield (
            f'<rect x="{x:.0f}" y="{y}" width="11" height="11" rx="2" '
            f'fill="{_colour(at + 1)}"/>' + _text(x + 17, y + 10, name)
        )
        x += 34 + LETTER * len(name)


def _stack(
    one: ChartBar, y: float, to_x: Callable[[float], float], parts: Sequence[str], unit: str
) -> Iterator[str]:
    """The parts of a bar, side by side."""
    begin = 0.0
    for at, part in enumerate(one.parts):
        colour = _colour(at + 1 if len(one.parts) > 1 or one.strong else COLOURS)
        tip = f"{one.name}: {number(part)} {parts[at] if at < len(parts) else unit}"
        yield (
            f'<rect x="{to_x(begin):.1f}" y="{y}" height="19" rx="1" fill="{colour}" '
            f'width="{max(0.0, to_x(begin + part) - to_x(begin)):.1f}">'
            f"<title>{escape(tip)}</title></rect>"
        )
        begin += part


def alone(svg: str) -> str:
    """A chart as a file of its own, with its style and its paper."""
    head, _, body = svg.partition(">")
    paper = '<rect width="100%" height="100%" fill="var(--chart-paper)"/>'
    return f"{head}><style>{STYLE}</style>{paper}{body}\n"


class _Box(msgspec.Struct, frozen=True):
    left: float
    top: float
    right: float
    bottom: float


def _frame(title: str, height: float, *inside: str) -> str:
    name = escape(title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" aria-label="{name}" '
        f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}">'
        f'<text class="title" x="16" y="26">{name}</text>{"".join(inside)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start", *, kind: str = "") -> str:
    if not text:
        return ""
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(text)}</text>'


def _both(axis: str, at: float) -> str:
    return f'{axis}1="{at:.1f}" {axis}2="{at:.1f}"'


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _colour(place: int) -> str:
    return f"var(--chart-{(place - 1) % COLOURS + 1})"


def _rows(one: ChartSeries) -> list[tuple[float, ...]]:
    spread = one.spread or tuple((y, y) for _, y in one.points)
    return [(x, y, *pair) for (x, y), pair in zip(one.points, spread, strict=True)]


def _shown(x_scale: Scale, y_scale: Scale) -> Callable[[ChartSeries], ChartSeries]:
    """What the scales can show: a logarithm wants what is above nothing."""

    def only(one: ChartSeries) -> ChartSeries:
        rows = [
            row
            for row in _rows(one)
            if all(map(math.isfinite, row))
            and (x_scale != "log" or row[0] > ZERO_BELOW)
            and (y_scale != "log" or min(row[1:]) > ZERO_BELOW)
        ]
        points = tuple((row[0], row[1]) for row in rows)
        spread = tuple((row[2], row[3]) for row in rows) if one.spread else ()
        return msgspec.structs.replace(one, points=points, spread=spread)

    return only
