import math

import pytest

from deepdepixelate.evaluation.formatting import METRICS, pair_title, percent, set_title, split_sets


@pytest.mark.parametrize(
    ("metric", "value", "written"),
    [
        ("psnr_y", 27.126, "27.13 dB"),
        ("psnr_y", math.inf, "∞ dB"),
        ("psnr_y", math.nan, "not available"),
        ("ssim_y", 0.81234, "0.8123"),
        ("high_frequency_ratio", 0.426, "43 %"),
        ("st_lpips", None, "not available"),
        ("identity_lost", 0.25, "25.0 %"),
    ],
)
def test_a_value_has_the_digits_and_the_unit_of_its_metric(
    metric: str, value: float | None, written: str
) -> None:
    assert METRICS[metric].value(value).replace("\N{NO-BREAK SPACE}", " ") == written


def test_a_difference_and_its_interval_have_signs() -> None:
    psnr = METRICS["psnr_y"]
    assert psnr.value(-0.5, signed=True) == "\N{MINUS SIGN}0.50\N{NO-BREAK SPACE}dB"
    assert psnr.interval([-1.0, 0.25], signed=True) == "[\N{MINUS SIGN}1.00, +0.25]"
    assert psnr.interval([27.0, 28.0]) == "[27.00, 28.00]"
    assert psnr.interval(None) == ""


def test_the_console_shows_half_the_width_of_the_interval() -> None:
    assert METRICS["psnr_y"].with_margin(27.0, [26.5, 27.5]) == "27.00 ± 0.50"
    assert METRICS["high_frequency_ratio"].with_margin(0.5, [0.4, 0.6]) == "50 ± 10"
    assert METRICS["psnr_y"].with_margin(27.0, None) == "27.00"
    assert METRICS["psnr_y"].with_margin(None, None) == "not available"
    assert METRICS["high_frequency_ratio"].column == "detail / %"


def test_degraded_sets_are_apart_from_the_others() -> None:
    sets = {"test": {"images": 1}, "jpeg": {"images": 2}, "set5": {"images": 3}}
    of_jpeg = {"jpeg": {"degradation": "JPEG"}}
    ordinary, degraded = split_sets({"protocol": {"degraded_sets": of_jpeg}, "sets": sets})
    assert list(ordinary) == ["test", "set5"]
    assert degraded == {"jpeg": {"images": 2}}
    assert split_sets({"protocol": {}, "sets": sets}) == (sets, {})


def test_names_for_readers() -> None:
    assert pair_title("srgan - bicubic") == "SRGAN \N{MINUS SIGN} bicubic"
    assert (set_title("Set5"), set_title("mine")) == ("Set5", "mine")
    assert (percent(0.957), percent(None)) == ("96 %", "not available")
