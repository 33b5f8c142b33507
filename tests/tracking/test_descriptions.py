import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from deepdepixelate.tracking.descriptions import describe_run, run_name, typed_command


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, ""),
        ({"pretrain": {"updates": 1500}}, "pretrain.updates=1500"),
        (
            {"pretrain": {"loss": "mse", "generator": {"blocks": 2}}, "a": "b c"},
            "pretrain.loss=mse, pretrain.generator.blocks=2, a=b c",
        ),
        (
            {"train_gan": {"restart": True, "vgg_weights": None, "shift": [1, 0.5]}},
            "train_gan.restart=true, train_gan.vgg_weights=null, train_g…",
        ),
    ],
)
def test_a_run_is_named_after_its_changes(changes: dict[str, Any], name: str) -> None:
    assert run_name(changes) == name
    assert len(name) <= 60


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["/bin/kedro", "run", "--params", "a=b c"], "kedro run --params 'a=b c'"),
        (["/lib/kedro/__main__.py", "run"], "kedro run"),
        (["kedro.exe", "run"], "kedro run"),
        (["deepdepixelate", "run", "--env=celeba"], "deepdepixelate run --env=celeba"),
        (["kedro", "run", "--params", "a=s3://me:secret@host/b"],
         "kedro run --params a=s3://host/b"),
        (["/lib/ipykernel_launcher.py", "-f", "kernel.json"], None),
    ],
)  # fmt: skip
def test_the_command_is_kept_as_it_was_typed(
    arguments: list[str], command: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    assert typed_command() == command


@pytest.fixture
def client(tmp_path: Path) -> Iterator[mlflow.MlflowClient]:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield mlflow.MlflowClient(uri)


def rows(text: str) -> list[list[str]]:
    """The cells of a table in Markdown, without the line below its header."""
    lines = [line for line in text.replace("&emsp;", "").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert set(cells.pop(1)) == {"---"}
    return cells


@pytest.mark.slow
def test_a_description_has_the_scores_and_then_the_links(client: mlflow.MlflowClient) -> None:
    run_id = client.create_run(client.create_experiment("scores")).info.run_id
    describe_run(run_id)
    assert "mlflow.note.content" not in client.get_run(run_id).data.tags
    client.set_tag(run_id, "starts_from.srresnet.run", "0" * 32)
    client.set_tag(run_id, "evaluates.srresnet.run", "1" * 32)
    client.set_tag(run_id, "evaluates.srgan.run", "2" * 32)
    client.set_tag(run_id, "evaluates.srgan.digest", "3" * 32)
    models: dict[str, Any] = {
        "bicubic": {"psnr_y": 28.125, "ssim_y": 0.81, "st_lpips": 0.3, "identity_distance": None},
        "srgan": {"psnr_y": 30, "ssim_y": 0.85, "st_lpips": 0.0571, "identity_distance": None},
    }
    describe_run(run_id, {"test": {"models": models}, "a|b": {"models": models}})
    text = client.get_run(run_id).data.tags["mlflow.note.content"]
    table, starts, evaluates = text.split("\n\n")
    bicubic, srgan = ["bicubic", "28.12", "0.8100", "0.300"], ["srgan", "30.00", "0.8500", "0.057"]
    assert rows(table) == [
        ["set", "model", "PSNR / dB", "SSIM", "ST-LPIPS"],
        ["test", *bicubic],
        ["test", *srgan],
        [r"a\|b", *bicubic],
        [r"a\|b", *srgan],
    ]
    assert starts == f"Starts from srresnet of run [00000000](#/experiments/1/runs/{'0' * 32})."
    assert set(re.findall(r"(\w+) of run \[(\d)", evaluates)) == {("srresnet", "1"), ("srgan", "2")}

    models["srgan"]["identity_distance"] = 0.25
    describe_run(run_id, {"test": {"models": models}})
    header, bicubic, srgan = rows(client.get_run(run_id).data.tags["mlflow.note.content"])
    assert (header[-1], bicubic[-1], srgan[-1]) == ("identity", "not available", "0.250")
