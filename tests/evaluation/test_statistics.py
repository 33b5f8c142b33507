import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from deepdepixelate.evaluation.statistics import (
    PAPER,
    as_metrics,
    mean_with_interval,
    summarise,
)

T_3 = 3.182446305284263  # the 97.5 % quantile of Student's t with 3 degrees of freedom, from tables
NAN, INF = math.nan, math.inf


def table(
    psnr: dict[str, list[float]], *, name: str = "test", **others: dict[str, list[float]]
) -> pd.DataFrame:
    """Scores of the images a, b, c … by model; metrics that are not given are a half everywhere."""
    rows = []
    for model, values in psnr.items():
        for index, value in enumerate(values):
            row = {"set": name, "image": chr(ord("a") + index), "model": model, "psnr_y": value}
            row |= {"ssim_y": 0.5, "high_frequency_ratio": 0.5}
            row |= {metric: of_model[model][index] for metric, of_model in others.items()}
            rows.append(row)
    return pd.DataFrame(rows)


def models_of(scores: pd.DataFrame) -> dict[str, Any]:
    models: dict[str, Any] = summarise(scores, 4)["test"]["models"]
    return models


def paired_of(scores: pd.DataFrame) -> dict[str, Any]:
    paired: dict[str, Any] = summarise(scores, 4)["test"]["paired"]
    return paired


# -- mean and interval -----------------------------------------------------------------------------


def test_the_interval_is_students_by_hand() -> None:
    mean, interval = mean_with_interval(np.array([1.0, 2.0, 3.0, 4.0]))
    half = T_3 * math.sqrt(5 / 3) / 2
    assert mean == 2.5
    assert interval == pytest.approx([2.5 - half, 2.5 + half], abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 10, 1000])
def test_the_interval_is_that_of_scipy(count: int) -> None:
    values = np.random.default_rng(count).normal(28, 3, count)
    _, interval = mean_with_interval(values)
    expected = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    assert interval == pytest.approx(list(expected), rel=1e-12)


def test_the_interval_holds_the_truth_nineteen_times_of_twenty() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        _, interval = mean_with_interval(random.normal(28, 3, 5))
        assert interval is not None
        held += interval[0] <= 28 <= interval[1]
    assert 0.935 < held / 2000 < 0.965


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (None, None)),
        ([NAN, NAN], (None, None)),
        ([INF, -INF], (None, None)),
        ([7.0], (7.0, None)),
        ([7.0, INF, NAN], (7.0, None)),
        ([7.0, 7.0, 7.0], (7.0, [7.0, 7.0])),
    ],
)
def test_what_cannot_be_averaged_is_none(values: list[float], expected: object) -> None:
    assert mean_with_interval(np.array(values, dtype=np.float64)) == expected


def test_infinite_values_change_neither_mean_nor_interval() -> None:
    finite = np.array([20.0, 25.0, 33.0])
    assert mean_with_interval(np.array([INF, *finite, NAN])) == mean_with_interval(finite)


# -- averages --------------------------------------------------------------------------------------


def test_averages_are_over_images_and_not_over_errors() -> None:
    figures = models_of(table({"bicubic": [20.0, 40.0]}, ssim_y={"bicubic": [0.5, 0.9]}))["bicubic"]
    assert figures["psnr_y"] == 30.0
    assert figures["ssim_y"] == pytest.approx(0.7)
    assert figures["ci95"]["psnr_y"] == pytest.approx([30 - 127.062047, 30 + 127.062047], abs=1e-5)
    assert type(figures["psnr_y"]) is float


def test_each_set_and_model_has_its_own_in_the_order_of_the_scores() -> None:
    scores = pd.concat(
        [
            table({"bicubic": [20.0, 30.0], "srgan": [22.0, 30.0]}),
            table({"bicubic": [40.0], "srgan": [41.0]}, name="set5"),
            table({"bicubic": [50.0]}, name="a-later-one"),
        ]
    )
    summary = summarise(scores, 4)
    assert list(summary) == ["test", "set5", "a-later-one"]
    assert [entry["images"] for entry in summary.values()] == [2, 1, 1]
    assert list(summary["test"]["models"]) == ["bicubic", "srgan"]
    assert summary["test"]["models"]["srgan"]["psnr_y"] == 26.0
    assert summary["set5"]["models"]["srgan"]["psnr_y"] == 41.0
    assert summary["set5"]["models"]["srgan"]["ci95"]["psnr_y"] is None
    assert summary["a-later-one"]["paired"] == {}


def test_identical_images_are_left_out_of_psnr_and_counted() -> None:
    scores = table({"bicubic": [20.0, 30.0, 40.0], "srgan": [INF, 30.0, 34.0]})
    bicubic, srgan = models_of(scores)["bicubic"], models_of(scores)["srgan"]
    assert srgan["psnr_y"] == 32.0
    assert srgan["identical"] == 1
    assert srgan["ssim_y"] == 0.5
    assert "identical" not in bicubic


def test_all_identical_has_no_psnr_but_the_rest() -> None:
    figures = models_of(table({"srgan": [INF, INF]}))["srgan"]
    assert figures["psnr_y"] is None
    assert figures["ci95"]["psnr_y"] is None
    assert figures["identical"] == 2
    assert figures["ssim_y"] == 0.5


def test_images_without_a_ratio_are_left_out_of_its_average() -> None:
    ratios = {"bicubic": [NAN, 0.1, 0.3], "srgan": [NAN, NAN, NAN]}
    models = models_of(
        table({"bicubic": [20.0] * 3, "srgan": [20.0] * 3}, high_frequency_ratio=ratios)
    )
    assert models["bicubic"]["high_frequency_ratio"] == pytest.approx(0.2)
    assert models["srgan"]["high_frequency_ratio"] is None


def test_st_lpips_has_all_that_the_others_have_but_where_it_was_not_measured() -> None:
    psnr = {"bicubic": [20.0, 30.0], "srgan": [21.0, 31.0]}
    without = summarise(table(psnr), 4)["test"]
    assert "st_lpips" not in without["models"]["srgan"]
    assert "st_lpips" not in without["models"]["srgan"]["ci95"]
    assert "st_lpips" not in without["paired"]["srgan - bicubic"]
    distances = {"bicubic": [0.4, 0.5], "srgan": [0.1, 0.3]}
    measured = summarise(table(psnr, st_lpips=distances), 4)["test"]
    assert measured["models"]["srgan"]["st_lpips"] == pytest.approx(0.2)
    low, high = measured["models"]["srgan"]["ci95"]["st_lpips"]
    assert low < 0.2 < high
    paired = measured["paired"]["srgan - bicubic"]["st_lpips"]
    assert paired["mean"] == pytest.approx(-0.25)
    assert paired["wins"] == 0
    assert "not_available" not in measured


def test_images_that_a_metric_cannot_judge_are_counted_and_left_out() -> None:
    psnr = {"bicubic": [20.0, 30.0, 40.0], "srgan": [21.0, INF, 41.0]}
    distances = {"bicubic": [NAN, 0.4, NAN], "srgan": [NAN, 0.2, NAN]}
    entry = summarise(table(psnr, st_lpips=distances), 4)["test"]
    assert entry["not_available"] == {"st_lpips": 2}
    assert entry["models"]["srgan"]["st_lpips"] == 0.2
    assert entry["models"]["srgan"]["ci95"]["st_lpips"] is None
    nothing = summarise(table(psnr, st_lpips=dict.fromkeys(psnr, [NAN] * 3)), 4)["test"]
    assert nothing["not_available"] == {"st_lpips": 3}
    assert nothing["models"]["srgan"]["st_lpips"] is None
    json.dumps(nothing, allow_nan=False)


def test_identity_is_null_where_it_was_not_measured() -> None:
    entry = summarise(table({"bicubic": [20.0]}), 4)["test"]
    assert entry["models"]["bicubic"]["identity_distance"] is None
    assert "identity_lost" not in entry["models"]["bicubic"]
    assert "faces_found" not in entry


def test_identity_is_of_the_faces_that_were_found() -> None:
    psnr = {"bicubic": [20.0] * 4, "srgan": [21.0] * 4}
    distances = {"bicubic": [0.7, NAN, 0.5, 0.9], "srgan": [0.5, NAN, 0.6, 0.4]}
    entry = summarise(table(psnr, identity_distance=distances), 4)["test"]
    assert entry["faces_found"] == 3
    assert entry["not_available"] == {"identity_distance": 1}
    bicubic, srgan = entry["models"]["bicubic"], entry["models"]["srgan"]
    assert bicubic["identity_distance"] == pytest.approx(0.7)
    assert bicubic["identity_lost"] == pytest.approx(2 / 3)
    assert srgan["identity_lost"] == 0  # 0.6 itself is not beyond
    assert srgan["ci95"]["identity_distance"] is not None
    assert entry["paired"]["srgan - bicubic"]["identity_distance"]["mean"] == pytest.approx(-0.2)


def test_no_face_at_all_is_counted_and_no_figure() -> None:
    psnr = {"bicubic": [20.0, 21.0]}
    entry = summarise(table(psnr, identity_distance={"bicubic": [NAN, NAN]}), 4)["test"]
    assert entry["faces_found"] == 0
    assert entry["models"]["bicubic"]["identity_distance"] is None
    assert "identity_lost" not in entry["models"]["bicubic"]
    json.dumps(entry, allow_nan=False)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [INF, NAN, 30.0])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_everything_is_plain_json(value: float, count: int) -> None:
    same = {"bicubic": [value] * count, "srgan": [value] * count}
    mixed = {"bicubic": [28.0] * count, "srgan": [value, *[30.0] * (count - 1)]}
    for psnr in (same, mixed):
        summary = summarise(table(psnr, high_frequency_ratio=psnr, st_lpips=psnr), 4)
        assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_the_catalogues_csv_changes_no_figure(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    psnr = {model: [INF, *random.normal(28, 3, 20)] for model in ("bicubic", "srgan")}
    ratio = {model: [NAN, *random.random(20)] for model in psnr}
    scores = table(psnr, high_frequency_ratio=ratio)
    scores.to_csv(tmp_path / "scores.csv", index=False)
    expected, read = summarise(scores, 4), summarise(pd.read_csv(tmp_path / "scores.csv"), 4)
    for model, figures in expected["test"]["models"].items():
        found = read["test"]["models"][model]
        assert found["identical"] == figures["identical"] == 1
        assert found["psnr_y"] == pytest.approx(figures["psnr_y"], abs=1e-12)
        assert found["ci95"]["psnr_y"] == pytest.approx(figures["ci95"]["psnr_y"], abs=1e-12)


# -- paired differences ----------------------------------------------------------------------------


def test_differences_are_later_minus_earlier_on_the_same_image() -> None:
    psnr = {"bicubic": [20.0, 30.0, 40.0], "srresnet": [21.0, 29.0, 43.0], "srgan": [1.0, 2.0, 3.0]}
    scores = table(psnr)
    paired = paired_of(scores)
    assert list(paired) == ["srresnet - bicubic", "srgan - bicubic", "srgan - srresnet"]
    difference = paired["srresnet - bicubic"]["psnr_y"]
    assert difference["mean"] == pytest.approx(1.0)
    assert difference["wins"] == pytest.approx(2 / 3)
    expected = stats.t.interval(0.95, 2, loc=1.0, scale=stats.sem([1.0, -1.0, 3.0]))
    assert difference["ci95"] == pytest.approx(list(expected))
    assert paired["srgan - bicubic"]["psnr_y"]["mean"] == pytest.approx(-28.0)
    assert paired["srgan - bicubic"]["psnr_y"]["wins"] == 0.0

    shuffled = pd.concat([scores[scores["model"] == model] for model in psnr])
    shuffled = pd.concat([shuffled.iloc[:3], shuffled.iloc[3:].sample(frac=1, random_state=1)])
    again = paired_of(shuffled)["srgan - bicubic"]["psnr_y"]
    assert again == paired["srgan - bicubic"]["psnr_y"]


def test_a_constant_difference_is_certain_however_different_the_images() -> None:
    psnr = {"bicubic": [10.0, 30.0, 50.0], "srgan": [10.5, 30.5, 50.5]}
    difference = paired_of(table(psnr))["srgan - bicubic"]["psnr_y"]
    assert difference == {"mean": 0.5, "ci95": [0.5, 0.5], "wins": 1.0}


def test_a_tie_is_no_win() -> None:
    psnr = {"bicubic": [30.0, 30.0], "srgan": [30.0, 31.0]}
    assert paired_of(table(psnr))["srgan - bicubic"]["psnr_y"]["wins"] == 0.5


@pytest.mark.filterwarnings("error")
def test_images_identical_under_both_models_are_not_compared() -> None:
    psnr = {"bicubic": [INF, INF, 30.0, 20.0], "srgan": [INF, 30.0, INF, 21.0]}
    difference = paired_of(table(psnr))["srgan - bicubic"]["psnr_y"]
    assert difference["mean"] == 1.0  # of the one image where both are finite
    assert difference["ci95"] is None
    assert difference["wins"] == pytest.approx(2 / 3)  # lost, won and won
    nothing = paired_of(table({"bicubic": [INF], "srgan": [INF]}))["srgan - bicubic"]["psnr_y"]
    assert nothing == {"mean": None, "ci95": None, "wins": None}


# -- the paper's figures, and what MLflow gets -----------------------------------------------------


@pytest.mark.parametrize("name", ["set5", "Set5", "SET14", "set14", "BSD100"])
def test_the_papers_figures_stand_beside_its_benchmarks(name: str) -> None:
    entry = summarise(table({"bicubic": [1.0], "srgan": [2.0]}, name=name), 4)[name]
    figures = PAPER[name.lower()]
    assert entry["paper"] == {"bicubic": figures["bicubic"], "srgan": figures["srgan"]}
    assert entry["models"]["bicubic"]["psnr_y"] == 1.0


@pytest.mark.parametrize("name", ["test", "urban100", "set5-mine", "set"])
def test_other_sets_have_no_figures_of_the_paper(name: str) -> None:
    assert "paper" not in summarise(table({"bicubic": [1.0]}, name=name), 4)[name]


def test_mlflow_gets_the_averages_that_exist_by_name() -> None:
    psnr = {"bicubic": [20.0, 30.0], "srgan": [INF, INF]}
    ratio = {"bicubic": [NAN, NAN], "srgan": [0.25, 0.75]}
    scores = table(psnr, high_frequency_ratio=ratio, st_lpips=ratio, identity_distance=ratio)
    assert as_metrics(summarise(scores, 4)) == {
        "test.bicubic.psnr_y": {"value": 25.0, "step": 0},
        "test.bicubic.ssim_y": {"value": 0.5, "step": 0},
        "test.srgan.ssim_y": {"value": 0.5, "step": 0},
        "test.srgan.high_frequency_ratio": {"value": 0.5, "step": 0},
        "test.srgan.st_lpips": {"value": 0.5, "step": 0},
        "test.srgan.identity_distance": {"value": 0.5, "step": 0},
        "test.srgan.identity_lost": {"value": 0.5, "step": 0},
    }


def test_the_papers_figures_are_not_put_beside_another_scale() -> None:
    assert "paper" not in summarise(table({"bicubic": [1.0]}, name="set5"), 2)["set5"]
