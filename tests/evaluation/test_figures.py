import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from deepdepixelate.evaluation.figures import (
    MOST_POINTS,
    Chart,
    score_histograms,
    spectrum_charts,
    training_curves,
    training_facts,
)

# -- trainings -------------------------------------------------------------------------------------


def test_draws_psnr_where_it_was_measured_and_the_loss_below() -> None:
    history = pd.DataFrame(
        {"update": [10, 20, 30], "loss": [0.3, 0.2, 0.1], "val.psnr_y": [None, 25.0, 26.0]}
    )
    figure = training_curves(history)
    psnr, loss = figure.data
    assert (psnr.x, psnr.y) == ((20, 30), (25.0, 26.0))
    assert (loss.x, loss.y) == ((10, 20, 30), (0.3, 0.2, 0.1))
    assert loss.yaxis == "y2"
    assert figure.layout.yaxis.domain[0] > figure.layout.yaxis2.domain[1]
    assert figure.layout.yaxis2.type == "log"


def test_draws_the_parts_of_the_loss_of_an_adversarial_training() -> None:
    columns = ["update", "loss", "content_loss", "adversarial_loss", "discriminator_loss"]
    figure = training_curves(pd.DataFrame([[1.0] * len(columns)], columns=columns))
    names = [line.name for line in figure.data]
    assert names == ["loss", "content loss", "adversarial loss", "discriminator loss"]


def test_a_negative_loss_is_drawn_on_a_linear_axis() -> None:
    figure = training_curves(pd.DataFrame({"update": [1, 2], "loss": [-29.5, -30.0]}))
    assert figure.data[0].y == (-29.5, -30.0)
    assert figure.layout.yaxis.type is None


def test_averages_more_points_than_a_page_can_show() -> None:
    count = 10 * MOST_POINTS + 3
    history = pd.DataFrame({"update": range(1, count + 1), "loss": [1.0, 3.0] * (count // 2) + [2]})
    (loss,) = training_curves(history).data
    assert len(loss.x) == MOST_POINTS
    assert list(loss.x) == sorted(loss.x)
    assert sum(loss.y) / len(loss.y) == pytest.approx(2, abs=0.02)


def test_an_empty_history_draws_nothing() -> None:
    assert len(training_curves(pd.DataFrame()).data) == 0


def test_facts_name_the_best_validation() -> None:
    history = pd.DataFrame({"update": [1, 2, 3, 4], "val.psnr_y": [20.0, 26.0, math.nan, 25.0]})
    assert training_facts(history) == ["4 updates", "best validation PSNR 26.00 dB at update 2"]


# -- scores ----------------------------------------------------------------------------------------


def histograms(**psnr: list[float]) -> dict[str, go.Figure | None]:
    rows = [
        {"set": "test", "image": str(index), "model": model, "psnr_y": value}
        for model, values in psnr.items()
        for index, value in enumerate(values)
    ]
    return {chart.title: chart.figure for chart in score_histograms(pd.DataFrame(rows), "test")}


def counts_of(figure: go.Figure | None) -> dict[str, list[int]]:
    assert figure is not None
    return {line.name: list(line.y) for line in figure.data}


def test_a_histogram_counts_the_images() -> None:
    found = histograms(bicubic=[1.0] * 8 + [2.0] * 4 + [3.0] * 2, srgan=[3.0] * 14)
    assert list(found) == ["PSNR", "PSNR gain over bicubic"]
    counts = counts_of(found["PSNR"])
    assert sorted(filter(None, counts["bicubic"])) == [2, 4, 8]
    assert counts["SRGAN"][-2:] == [14, 0]
    gains = counts_of(found["PSNR gain over bicubic"])
    assert list(gains) == ["SRGAN"]
    assert sorted(filter(None, gains["SRGAN"])) == [2, 4, 8]


def test_equal_values_make_one_bar() -> None:
    counts = counts_of(histograms(bicubic=[30.0] * 3)["PSNR"])
    assert list(filter(None, counts["bicubic"])) == [3]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_left_out(bad: float) -> None:
    found = histograms(bicubic=[1.0, bad, 3.0], srgan=[bad] * 3)
    counts = counts_of(found["PSNR"])
    assert list(counts) == ["bicubic"]
    assert sum(counts["bicubic"]) == 2
    assert found["PSNR gain over bicubic"] is None


def test_a_histogram_of_many_images_stays_small() -> None:
    values = np.random.default_rng(0).normal(28, 2, 20_000).tolist()
    figure = histograms(bicubic=values)["PSNR"]
    assert figure is not None
    assert len(figure.to_json()) < 5_000


def test_a_name_is_text_and_nothing_else() -> None:
    (line,) = (histograms(**{"<b>&$x$": [1.0]})["PSNR"] or go.Figure()).data
    assert line.name == "&lt;b&gt;&amp;$x$"


def test_spectra_are_drawn_as_they_are_and_as_a_share_of_the_original() -> None:
    frequencies = [0.1, 0.2, 0.3]
    powers = {"hr": [8.0, 4.0, 2.0], "bicubic": [4.0, 1.0, 0.0]}
    spectra = pd.concat(
        pd.DataFrame({"set": "test", "model": model, "frequency": frequencies, "power": power})
        for model, power in powers.items()
    )
    charts: list[Chart] = spectrum_charts(spectra, "test", 4)
    power, share = (chart.figure for chart in charts)
    assert power is not None
    assert share is not None
    assert {line.name: line.y for line in power.data} == {
        "original": (8.0, 4.0, 2.0),
        "bicubic": (4.0, 1.0),  # a logarithmic axis has no zero
    }
    assert {line.name: line.y for line in share.data} == {"bicubic": (50.0, 25.0, 0.0)}
    assert power.layout.shapes[0].x0 == share.layout.shapes[0].x0 == 0.125
