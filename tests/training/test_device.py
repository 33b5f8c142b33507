import subprocess
import sys

import pytest
import torch

from deepdepixelate.errors import UserError
from deepdepixelate.training.device import Compute, choose_compute, find_device


@pytest.fixture
def only_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("only_cpu")
def test_auto_is_the_cpu_where_there_is_nothing_else() -> None:
    assert find_device("auto") == torch.device("cpu")


def test_cuda_comes_before_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    assert find_device("auto").type == "cuda"


@pytest.mark.parametrize("name", ["tpu9", "", "CPU!", "cuda:99"])
def test_device_that_is_not_here_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="Choose auto, cpu, cuda, cuda:N or mps") as caught:
        find_device(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(("precision", "bf16"), [("bf16", True), ("fp32", False)])
def test_precision_is_as_asked(precision: str, bf16: bool) -> None:
    assert choose_compute("cpu", precision) == Compute(torch.device("cpu"), bf16)


@pytest.mark.parametrize(
    ("capabilities", "bf16"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx2": True}, False),
        ({}, False),
    ],
)
def test_auto_precision_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], bf16: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)

    assert choose_compute("cpu", "auto").bf16 is bf16


@pytest.mark.parametrize(("bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_autocast_computes_in_the_precision(bf16: bool, dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(4, 4)
    with Compute(torch.device("cpu"), bf16).autocast():
        assert layer(torch.rand(2, 4)).dtype == dtype


@pytest.mark.parametrize(("bf16", "word"), [(True, "bf16"), (False, "fp32")])
def test_names_device_and_precision(bf16: bool, word: str) -> None:
    name = str(Compute(torch.device("cpu"), bf16))

    assert "cpu" in name
    assert word in name


_PAGE_FAULTS_OF_TENSORS = """
import ctypes
import resource
import torch
from deepdepixelate.training.device import keep_freed_memory

PR_SET_THP_DISABLE = 41  # a huge page would be one fault for 512 pages
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
if {kept}:
    keep_freed_memory()
for _ in range(20):  # until free blocks are where they are looked for
    torch.zeros(2**24).add_(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.zeros(2**24).add_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
def test_memory_that_is_kept_is_not_cleared_again() -> None:
    def faults(*, kept: bool) -> int:
        script = _PAGE_FAULTS_OF_TENSORS.format(kept=kept)
        output = subprocess.check_output([sys.executable, "-c", script], text=True)
        return int(output)

    assert faults(kept=True) < 100 < faults(kept=False)
