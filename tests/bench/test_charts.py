"""Charts are whole XML, show what they were given, and stay inside their frame."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from crawler.bench.charts import STYLE, WIDTH, ChartBar, ChartSeries, alone, bars, lines, number

figure = st.floats(min_value=0, max_value=1e9)
points = st.lists(st.tuples(figure, figure), max_size=30).map(
    lambda some: tuple(sorted(dict(some).items()))
)
scale = st.sampled_from(["linear", "log", "steps"])
name = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=20)
SVG = "{http://www.w3.org/2000/svg}"


def inside(svg: str) -> ET.Element:
    root = ET.fromstring(svg)
    height = float(root.attrib["height"])
    for shape in root.iter():
        for key, value in shape.attrib.items():
            if key in {"x", "x1", "x2", "cx", "y", "y1", "y2", "cy"} and value != "100%":
                assert -1 <= float(value) <= (WIDTH if "x" in key else height) + 1, (key, value)
    assert not list(root.iter(f"{SVG}script"))
    return root


@given(st.lists(st.builds(ChartSeries, name=name, points=points), max_size=6), scale, scale)
def test_a_line_chart_is_whole_and_within_its_frame(
    series: list[ChartSeries], x_scale: str, y_scale: str
) -> None:
    if y_scale == "steps":
        y_scale = "linear"
    inside(lines(series, title="a < b", x_scale=x_scale, y_scale=y_scale))  # type: ignore[arg-type]


@given(st.lists(st.tuples(name, st.lists(figure, min_size=1, max_size=4)), max_size=12))
def test_bars_are_whole_and_as_long_as_their_figures(some: list[tuple[str, list[float]]]) -> None:
    rows = [ChartBar(name, tuple(parts)) for name, parts in some]
    root = inside(bars(rows, title="t", unit="ms"))
    wide = [float(rect.attrib["width"]) for rect in root.iter(f"{SVG}rect")]
    parts = [part for row in rows for part in row.parts]
    assert len(wide) == len(parts)
    longest = max(map(sum, (row.parts for row in rows)), default=0)
    if longest > 1e-6:
        scale = max(wide) / max(parts)
        for width, part in zip(wide, parts, strict=True):
            assert abs(width - part * scale) < 0.2


def test_a_line_goes_up_where_its_figures_do() -> None:
    series = [ChartSeries("one", ((0, 1), (1, 10), (2, 5)), spread=((0, 2), (9, 11), (5, 5)))]
    root = inside(lines(series, title="t", x_scale="steps"))
    (line,) = (e for e in root.iter(f"{SVG}polyline"))
    ys = [float(pair.split(",")[1]) for pair in line.attrib["points"].split()]
    assert ys[0] > ys[2] > ys[1]  # down is up in SVG
    assert len(list(root.iter(f"{SVG}circle"))) == 3
    assert list(root.iter(f"{SVG}polygon"))


def test_a_log_scale_leaves_out_what_it_cannot_show() -> None:
    root = inside(lines([ChartSeries("one", ((0, 5), (1, 0), (2, 7)))], title="t", y_scale="log"))
    assert len(list(root.iter(f"{SVG}circle"))) == 2
    assert "no figures" in lines([ChartSeries("one", ((1, 0),))], title="t", y_scale="log")


def test_every_colour_that_is_used_is_defined_light_and_dark() -> None:
    series = [ChartSeries(str(i), ((0, i), (1, i + 1))) for i in range(9)]
    svg = alone(lines(series, title="t"))
    for variable in set(re.findall(r"var\((--[\w-]+)\)", svg)):
        assert STYLE.count(f"{variable}:") == 2, variable
    inside(svg)


def test_numbers_read_well() -> None:
    shown = {0: "0", 0.25: "0.25", 3.14159: "3.14", 1234.5: "1,234", 2.5e6: "2.5M"}
    assert {value: number(value) for value in shown} == shown
