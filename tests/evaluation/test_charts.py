from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from deepdepixelate.evaluation.charts import (
    MOST_POINTS,
    Line,
    color_of,
    histogram,
    line_chart,
    number,
)
from deepdepixelate.evaluation.inline_svg import COLORS

SVG = "{http://www.w3.org/2000/svg}"


def lines(*each: Line, **settings: Any) -> str | None:
    labels = {"description": "what it shows", "x_label": "across", "y_label": "up"}
    return line_chart("key", each, **(labels | settings))


def parsed(svg: str | None) -> ElementTree.Element:
    assert svg is not None
    return ElementTree.fromstring(svg)  # noqa: S314 (of our own making)


def texts(svg: str | None) -> list[str]:
    return [element.text or "" for element in parsed(svg).iter(f"{SVG}text")]


def points_of(svg: str | None, color: str) -> int:
    """Points of the longest path that is drawn in a colour."""
    paths = [
        path.attrib["d"]
        for path in parsed(svg).iter(f"{SVG}path")
        if f"--chart-{color}," in path.attrib.get("style", "")
    ]
    return max(path.count("L") + path.count("M") for path in paths)


def test_a_chart_is_one_labelled_element_with_its_texts() -> None:
    svg = lines(Line("a loss", "srgan", [1, 2], [3, 4]), Line("another", "hr", [1, 2], [4, 3]))
    root = parsed(svg)
    assert root.tag == f"{SVG}svg"
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == "what it shows"
    assert {"a loss", "another", "across", "up"} <= set(texts(svg))


def test_colours_are_variables_with_a_fallback_so_that_a_page_can_set_them() -> None:
    svg = lines(Line("a", "srgan", [1, 2], [3, 4])) or ""
    assert f"stroke: var(--chart-srgan, {COLORS['srgan']})" in svg
    assert f"fill: var(--chart-ink, {COLORS['ink']})" in svg
    assert "#0101" not in svg


def test_nothing_in_a_chart_reaches_beyond_it() -> None:
    svg = lines(Line("a", "hr", [1, 2], [3, 4], dots=True), vertical=(1.5, "here")) or ""
    root = parsed(svg)
    identifiers = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert all(each.startswith("key-") for each in identifiers)
    assert len(set(identifiers)) == len(identifiers)
    references = [element.attrib["href"][1:] for element in root.iter() if "href" in element.attrib]
    references += [part.partition(")")[0] for part in svg.split("url(#")[1:]]
    assert references
    assert set(references) <= set(identifiers)
    assert not list(root.iter(f"{SVG}style"))
    assert "<!DOCTYPE" not in svg


def test_the_same_chart_is_the_same_text_whatever_a_person_set_in_matplotlib() -> None:
    first = lines(Line("a", "hr", [1, 2], [3, 4]))
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": False}):
        assert lines(Line("a", "hr", [1, 2], [3, 4])) == first
        assert mpl.rcParams["font.size"] == 30


def test_a_small_value_keeps_its_digits_on_the_axis() -> None:
    svg = lines(Line("a", "hr", [0, 1], [0.001, 0.005]))
    assert {"0.002", "0.004"} <= set(texts(svg))


def test_a_label_is_text_and_nothing_else() -> None:
    hostile = "<script>alert(1)</script> $\\frac$"
    svg = histogram(
        "key", {hostile: ("hr", [1, 2])}, description=f'"{hostile}', x_label="x<y"
    )  # fmt: skip
    assert "<script" not in (svg or "")
    assert hostile in texts(svg)
    assert parsed(svg).attrib["aria-label"] == f'"{hostile}'


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_left_out(bad: float) -> None:
    svg = lines(Line("a", "hr", [1, 2, 3, 4], [1, bad, 3, 2]))
    assert points_of(svg, "hr") == 3
    assert lines(Line("a", "hr", [1, 2], [bad, bad])) is None
    assert histogram("key", {"a": ("hr", [bad])}, description="", x_label="") is None


def test_a_logarithmic_axis_leaves_out_what_it_cannot_show() -> None:
    drawn = Line("a", "hr", [1, 2, 3, 4], [0, 10, 100, -1])
    assert points_of(lines(drawn, log=True), "hr") == 2
    assert lines(Line("a", "hr", [1, 2], [0, 0]), log=True) is None


def test_a_logarithmic_axis_is_labelled_over_little_and_over_much() -> None:
    little = texts(lines(Line("a", "hr", [1, 2], [0.002, 0.011]), log=True))
    assert {"0.002", "0.005", "0.01"} <= set(little)
    much = texts(lines(Line("a", "hr", [1, 2], [0.01, 1e6]), log=True))
    assert {"10⁻²", "10⁰", "10⁶"} <= set(much)


def test_a_long_record_is_averaged_and_keeps_its_course() -> None:
    count = 100 * MOST_POINTS
    svg = lines(Line("a", "hr", np.arange(count), np.sin(np.arange(count) / 3000)))
    assert 50 < points_of(svg, "hr") <= MOST_POINTS
    assert len(svg or "") < 40_000


def test_a_single_point_is_seen() -> None:
    assert list(parsed(lines(Line("a", "hr", [5], [1]))).iter(f"{SVG}use"))


def heights(svg: str | None, color: str) -> set[float]:
    """The heights of a histogram's outline above its base, relative to the highest."""
    outline = next(
        path.attrib["d"]
        for path in parsed(svg).iter(f"{SVG}path")
        if f"stroke: var(--chart-{color}," in path.attrib.get("style", "")
        and "clip-path" in path.attrib
    )
    rows = [float(pair.split()[2]) for pair in outline.replace("L", "\nL").splitlines() if pair[1:]]
    base, top = max(rows), min(rows)
    return {round((base - row) / (base - top), 2) for row in rows}


def test_a_histogram_counts_the_images() -> None:
    values = [1.0] * 8 + [2.0] * 4 + [3.0] * 2
    svg = histogram("key", {"a": ("srgan", values)}, description="", x_label="dB")
    assert heights(svg, "srgan") == {0.0, 0.25, 0.5, 1.0}


def test_equal_values_make_one_bar() -> None:
    svg = histogram("key", {"a": ("srgan", [30.0] * 3)}, description="", x_label="dB")
    assert heights(svg, "srgan") == {0.0, 1.0}


def test_a_histogram_of_many_images_stays_small() -> None:
    values = np.random.default_rng(0).normal(28, 2, 20_000)
    svg = histogram("key", {"a": ("hr", values)}, description="", x_label="dB")
    assert len(svg or "") < 20_000


def test_zero_is_in_the_picture_where_it_is_wanted() -> None:
    gains = {"a": ("hr", [2.0, 3.0])}
    with_zero = histogram("key", gains, description="", x_label="dB", zero=True)
    without = histogram("key", gains, description="", x_label="dB")
    assert "1" in texts(with_zero)
    assert "1" not in texts(without)[: texts(without).index("dB")]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (-3, "\N{MINUS SIGN}3"),
        (1500, "1,500"),
        (1e-4, "10⁻⁴"),
        (2.5e-5, "2.5·10⁻⁵"),
        (1e6, "10⁶"),
        (-2e7, "\N{MINUS SIGN}2·10⁷"),
    ],
)
def test_numbers_are_written_as_people_read_them(value: float, written: str) -> None:
    assert number(value) == written


def test_every_model_has_a_colour_and_unknown_ones_differ() -> None:
    models = ["bicubic", "swin", "nearest"]
    assert color_of("bicubic", models) == "bicubic"
    others = {color_of(model, models) for model in ("swin", "nearest")}
    assert len(others) == 2
    assert others <= COLORS.keys()
