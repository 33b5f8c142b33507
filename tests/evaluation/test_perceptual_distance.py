import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deepdepixelate.evaluation.perceptual_distance import (
    BACKBONE,
    PerceptualDistance,
    find_perceptual_distance,
)

CPU = torch.device("cpu")


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torchvision keeps what it downloaded, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def assert_not_available(distance: PerceptualDistance, reason: str) -> None:
    assert distance.measure is None
    assert distance.reason is not None
    assert reason in distance.reason
    assert distance.describe() == {"available": False, "reason": distance.reason}


def test_it_can_be_switched_off(checkpoints: Path) -> None:
    (checkpoints / BACKBONE).touch()
    assert_not_available(find_perceptual_distance("off", CPU), "switched off by evaluate.lpips")


def test_nothing_is_downloaded_unasked(checkpoints: Path) -> None:
    distance = find_perceptual_distance("auto", CPU)
    assert_not_available(distance, "not downloaded (233 MB; evaluate.lpips=download does)")
    assert list(checkpoints.iterdir()) == []


def test_a_backbone_that_cannot_be_loaded_is_told_and_not_made_up(checkpoints: Path) -> None:
    (checkpoints / BACKBONE).touch()  # damaged, if torchvision can be imported at all
    distance = find_perceptual_distance("auto", CPU)
    assert_not_available(distance, "AlexNet cannot be had here: ")
    assert distance.reason is not None
    assert len(distance.reason.removeprefix("AlexNet cannot be had here: ")) > 5
    assert "\n" not in distance.reason


def test_a_distance_says_what_it_is() -> None:
    described = PerceptualDistance(lambda first, second: float(np.mean(first != second))).describe()
    assert described["available"] is True
    assert "AlexNet" in described["definition"]


PROGRAM = """
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

torch.set_num_threads(1)
try:
    import torchvision
except RuntimeError:
    # torchvision beside another build of torch lacks its compiled operators, which AlexNet does
    # not use: once they are declared, all that is written in Python can be imported.
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    boxes = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", boxes)
    import torchvision
from deepdepixelate.evaluation.perceptual_distance import BACKBONE, find_perceptual_distance

torch.manual_seed(0)
backbone = torchvision.models.alexnet()  # untrained: as good as any to tell images apart
torch.save(backbone.state_dict(), Path(os.environ["TORCH_HOME"], "hub/checkpoints", BACKBONE))
distance = find_perceptual_distance("auto", torch.device("cpu"))
assert distance.describe()["available"], distance.reason

random = np.random.default_rng(0)
first, *others = random.integers(0, 256, (25, 48, 40, 3), dtype=np.uint8)
assert distance.measure(first, first) == 0
alone = [distance.measure(first, other) for other in others]
assert all(value > 0 for value in alone)
assert distance.measure(others[0], first) == alone[0]
nearer = np.where(random.random(first.shape) < 0.9, first, others[0])
assert distance.measure(first, nearer) < alone[0]

with ThreadPoolExecutor(4) as pool:
    for _ in range(5):
        together = list(pool.map(lambda other: distance.measure(first, other), others))
        np.testing.assert_allclose(together, alone, rtol=1e-5, err_msg="on threads")

for side in (19, 30):  # as small as a benchmark's image may be
    assert np.isnan(distance.measure(first[:side], nearer[:side])), side
assert np.isfinite(distance.measure(first[:31, :31], nearer[:31, :31]))
print("all well")
"""


@pytest.mark.slow
def test_the_distance_of_a_real_alexnet_on_any_thread(checkpoints: Path) -> None:
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    if "No module named 'torchvision'" in answer.stderr:
        pytest.skip("torchvision is not installed")
    assert answer.stdout.endswith("all well\n"), answer.stderr
