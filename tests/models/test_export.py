import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tiny_model import tiny_weights

from deepdepixelate.errors import UserError
from deepdepixelate.models.export import export_onnx
from deepdepixelate.models.weights import build_generator

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("scale", [2, 4])
def test_onnx_gives_what_the_generator_gives_at_any_size(scale: int, tmp_path: Path) -> None:
    weights = tiny_weights(scale)
    path = tmp_path / "new" / "generator.onnx"
    export_onnx(weights, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    generator = build_generator(weights)
    for shape in ((1, 3, 5, 7), (3, 3, 20, 31), (1, 3, 1, 64)):
        lr = np.random.default_rng(0).random(shape, dtype=np.float32)
        (sr,) = session.run(["sr"], {"lr": lr})
        with torch.no_grad():
            expected = ((generator(torch.from_numpy(lr)) + 1) / 2).clamp(0, 1).numpy()
        np.testing.assert_allclose(sr, expected, atol=2e-5)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["architecture"]) == weights.architecture
    assert metadata["digest"] == weights.digest


def test_weights_that_fold_to_nan_are_refused(tmp_path: Path) -> None:
    weights = tiny_weights()
    broken = dict(weights.tensors)
    broken["body.0.body.1.running_var"] = -torch.ones(4)
    with pytest.raises(UserError, match=r"the folded generator cannot be used: .* NaN"):
        export_onnx(replace(weights, tensors=broken), tmp_path / "generator.onnx")
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r'pip install "deepdepixelate\[onnx\]"'):
        export_onnx(tiny_weights(), tmp_path / "generator.onnx")
    assert not list(tmp_path.iterdir())
