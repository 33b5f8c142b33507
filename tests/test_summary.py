from io import StringIO
from typing import Any

import mlflow
import pytest
from kedro.framework.project import configure_project, pipelines
from kedro.io import DataCatalog
from rich.console import Console

from deepdepixelate import summary
from deepdepixelate.summary import SummaryHooks, compare_with_bicubic
from deepdepixelate.tracking.store import SERVER_VARIABLE, describe_active_run


def evaluation(**models: tuple[float | None, float | None]) -> dict[str, Any]:
    """An evaluation with PSNR and ST-LPIPS of each model."""
    return {
        "sets": {
            "test": {
                "models": {
                    name: {"psnr_y": psnr, "st_lpips": distance}
                    for name, (psnr, distance) in {"bicubic": (28.0, 0.3), **models}.items()
                }
            }
        },
        "provenance": {
            "weights": {
                "srresnet": {"fingerprint": {"settings": {"updates": 1500}}},
                "srgan": {"fingerprint": {"settings": {"updates": 200}}},
            }
        },
    }


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (
            {"photo": (26.5, 0.1)},
            [
                "photo is 1.5 dB below bicubic, which is normal for a GAN: its ST-LPIPS is better "
                "(0.100, bicubic 0.300; lower is better)."
            ],
        ),
        ({"srresnet": (28.5, 0.2), "srgan": (28.1, 0.1)}, []),
        ({"srresnet": (27.97, 0.2)}, []),
        ({"srresnet": (None, None)}, []),
        (
            {"srresnet": (25.2, 0.2)},
            [
                "srresnet is 2.8 dB below bicubic: 1,500 updates are too few; "
                "raise pretrain.updates."
            ],
        ),
        (
            {"srresnet": (28.5, 0.2), "srgan": (27.6, 0.1)},
            [
                "srgan is 0.4 dB below bicubic, which is normal for a GAN: its ST-LPIPS is better "
                "(0.100, bicubic 0.300; lower is better)."
            ],
        ),
        (
            {"srresnet": (28.5, 0.2), "srgan": (27.6, 0.4)},
            [
                "srgan is 0.4 dB below bicubic, and its ST-LPIPS is no better (0.400, bicubic "
                "0.300; lower is better): 200 updates are too few; raise train_gan.updates."
            ],
        ),
        (
            {"srresnet": (25.2, 0.2), "srgan": (25.0, None)},
            [
                "srresnet is 2.8 dB below bicubic: 1,500 updates are too few; "
                "raise pretrain.updates.",
                "srgan is 3.0 dB below bicubic: it starts from srresnet; improve that first.",
            ],
        ),
    ],
)
def test_a_generator_below_bicubic_is_reported_with_the_remedy(
    models: dict[str, tuple[float | None, float | None]], expected: list[str]
) -> None:
    assert list(compare_with_bicubic(evaluation(**models), packaged=False)) == expected


def test_training_longer_is_no_remedy_for_packaged_or_foreign_weights() -> None:
    (packaged,) = compare_with_bicubic(evaluation(srresnet=(27.0, 0.2)), packaged=True)
    assert packaged.endswith("the test images differ from its training images.")
    foreign = evaluation(srresnet=(27.0, 0.2))
    foreign["provenance"]["weights"]["srresnet"] = {}
    (remark,) = compare_with_bicubic(foreign, packaged=False)
    assert remark.endswith("it was trained too little; raise pretrain.updates.")


def test_degraded_sets_share_one_table_of_80_columns() -> None:
    def means(**distances: float | None) -> dict[str, Any]:
        return {
            "images": 3,
            "models": {
                model: {"psnr_y": 20 + index, "ssim_y": 0.5, "st_lpips": distance, "ci95": {}}
                for index, (model, distance) in enumerate(distances.items())
            },
        }

    sets = {
        "test": means(bicubic=0.3, srgan=0.1),
        "jpeg_30": means(bicubic=0.4, srresnet=0.3, srgan=0.2, photo=None),
        "blur_2": means(bicubic=0.5, srresnet=0.4, srgan=0.4, photo=0.2),
    }
    protocol = {"border": 4, "degraded_sets": {"jpeg_30": {}, "blur_2": {}}}
    of_test, degraded = summary._tables({"protocol": protocol, "sets": sets})
    assert of_test.title == "test: 3 images, luma, border 4"
    file = StringIO()
    Console(file=file, width=80).print(degraded)
    rows = [line.replace("│", " ").split() for line in file.getvalue().splitlines()]
    assert rows[0] == ["degraded", "sets:", "3", "images", "each"]
    for row in (
        ["ST-LPIPS"],
        ["jpeg_30", "0.400", "0.300", "0.200", "not", "available"],
        ["blur_2", "0.500", "0.400", "0.400", "0.200"],
        ["PSNR", "/", "dB"],
        ["blur_2", "20.00", "21.00", "22.00", "23.00"],
    ):
        assert row in rows
    assert ["identity"] not in rows


@pytest.mark.parametrize(
    ("stage", "env", "given", "last"),
    [
        ("ingest", None, {}, "Next: kedro run --pipeline degrade"),
        ("degrade", "celeba", {}, "Next: kedro run --env celeba --pipeline pretrain"),
        ("pretrain", "local", {}, "Next: kedro run --pipeline train_gan"),
        (
            "train_gan",
            None,
            {"train_gan": {"updates": 3}},
            "Next: kedro run --pipeline evaluate (and your --params or --config)",
        ),
    ],
)
def test_one_stage_ends_with_the_command_for_the_next(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    env: str | None,
    given: dict[str, Any],
    last: str,
) -> None:
    configure_project("deepdepixelate")
    monkeypatch.setattr(summary, "describe_active_run", lambda: "the page")
    hooks = SummaryHooks()
    hooks.before_pipeline_run(pipelines[stage])
    for node in pipelines[stage].nodes[1:]:
        hooks.before_node_run(node)
    run_params = {"project_path": "/", "env": env, "runtime_params": given}
    hooks.after_pipeline_run(run_params, pipelines[stage], _Catalog())
    total = len(pipelines[stage].nodes)
    assert capsys.readouterr().out.splitlines() == [
        f"Skipped: 1 of {total} nodes, whose outputs exist",
        "MLflow: the page",
        last,
    ]


class _Catalog(DataCatalog):
    """A catalogue whose datasets have no paths."""

    def get(self, key: str, *args: Any, **options: Any) -> Any:
        return None


def test_an_error_names_its_node() -> None:
    configure_project("deepdepixelate")
    error = ValueError("a bug")
    SummaryHooks().on_node_error(error, pipelines["ingest"].nodes[0])
    assert error.__notes__ == ["This happened in the node ingest.store_faces."]


@pytest.mark.parametrize(
    ("server", "page", "hint"),
    [
        (None, "http://127.0.0.1:5000", " (start the page with: kedro mlflow ui)"),
        ("sqlite:///other.db", "http://127.0.0.1:5000", " (start the page with: kedro mlflow ui)"),
        ("https://me:secret@mlflow.example/", "https://mlflow.example", ""),
    ],
)
def test_the_page_of_a_run_is_on_the_server_or_on_this_computer(
    monkeypatch: pytest.MonkeyPatch, server: str | None, page: str, hint: str
) -> None:
    monkeypatch.setattr(mlflow, "active_run", lambda: None)
    assert describe_active_run() is None

    class Run:
        class info:  # noqa: N801
            experiment_id, run_id = "7", "abc"

    monkeypatch.setattr(mlflow, "active_run", Run)
    monkeypatch.delenv(SERVER_VARIABLE, raising=False)
    if server:
        monkeypatch.setenv(SERVER_VARIABLE, server)
    assert describe_active_run() == f"{page}/#/experiments/7/runs/abc{hint}"
