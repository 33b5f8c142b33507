import pandas as pd
import pytest

from deepdepixelate.evaluation.curves_figure import MOST_POINTS, draw


def test_draws_psnr_where_it_was_measured_and_the_loss_below() -> None:
    history = pd.DataFrame(
        {"update": [10, 20, 30], "loss": [0.3, 0.2, 0.1], "val.psnr_y": [None, 25.0, 26.0]}
    )
    psnr, loss = draw(history, "SRResNet").data
    assert (psnr.x, psnr.y) == ((20, 30), (25.0, 26.0))
    assert (loss.x, loss.y) == ((10, 20, 30), (0.3, 0.2, 0.1))
    assert loss.yaxis == "y2"


def test_draws_the_parts_of_the_loss_of_an_adversarial_training() -> None:
    columns = ["update", "loss", "content_loss", "adversarial_loss", "discriminator_loss"]
    figure = draw(pd.DataFrame([[1.0] * len(columns)], columns=columns), "SRGAN")
    names = [line.name for line in figure.data]
    assert names == ["content loss", "adversarial loss", "discriminator loss"]


def test_averages_more_points_than_a_page_can_show() -> None:
    count = 10 * MOST_POINTS + 3
    history = pd.DataFrame({"update": range(1, count + 1), "loss": [1.0, 3.0] * (count // 2) + [2]})
    (loss,) = draw(history, "SRResNet").data
    assert len(loss.x) == MOST_POINTS
    assert list(loss.x) == sorted(loss.x)
    assert sum(loss.y) / len(loss.y) == pytest.approx(2, abs=0.02)


def test_an_empty_history_draws_nothing() -> None:
    assert len(draw(pd.DataFrame(), "SRResNet").data) == 0
