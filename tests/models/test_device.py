import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from deepdepixelate.errors import UserError
from deepdepixelate.models import device
from deepdepixelate.models.device import Compute, choose_compute, find_device


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


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU that is only said to be there, and PyTorch's settings as they were afterwards."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32
    monkeypatch.setattr(device, "find_device", lambda name: torch.device("cuda"))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is as before, afterwards
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    yield
    cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32 = before
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("tf32", True), ("bf16", False)])
def test_a_gpu_multiplies_in_tf32_only_where_that_is_asked_for(precision: str, tf32: bool) -> None:
    assert choose_compute("cuda", precision).precision == precision
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert torch.backends.cuda.matmul.allow_tf32 is tf32


def test_tf32_is_refused_where_there_is_none() -> None:
    with pytest.raises(UserError, match="tf32 is for a CUDA GPU"):
        choose_compute("cpu", "tf32")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("deterministic", [True, False])
def test_deterministic_is_more_than_a_warning(deterministic: bool) -> None:
    choose_compute("cuda", "fp32", deterministic=deterministic)
    assert torch.are_deterministic_algorithms_enabled() is deterministic
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.benchmark is not deterministic
    expected = ":4096:8" if deterministic else None
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == expected


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
from deepdepixelate.models.device import keep_freed_memory

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
