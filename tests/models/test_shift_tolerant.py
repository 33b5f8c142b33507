import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from deepdepixelate.errors import UserError
from deepdepixelate.models.shift_tolerant import (
    SMALLEST_SIDE,
    ShiftTolerantLPIPS,
    Trunk,
    load_trunk,
)

TRUNKS: list[Trunk] = ["alex", "vgg"]


def images(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.rand(*shape, generator=generator) * 2 - 1
    noise = torch.randn(*shape, generator=generator)
    return first, (first + 0.8 * noise).clamp(-1, 1)


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Trunk], torch.nn.Module]:
    """The package's own code, with stand-ins for what it imports and does not need here."""
    for name, attribute in (
        ("IPython", "embed"),
        ("torchsummary", "summary"),
        ("torchvision", "models"),
    ):
        module = ModuleType(name)
        setattr(module, attribute, None)
        monkeypatch.setitem(sys.modules, name, module)

    def network(trunk: Trunk) -> torch.nn.Module:
        from stlpips_pytorch import stlpips

        made: torch.nn.Module = stlpips.LPIPS(net=trunk, variant="shift_tolerant", verbose=False)
        return made

    return network


@pytest.mark.parametrize("trunk", TRUNKS)
def test_agrees_with_the_papers_own_code(
    trunk: Trunk, theirs: Callable[[Trunk], torch.nn.Module]
) -> None:
    ours, original = ShiftTolerantLPIPS(trunk), theirs(trunk)
    for shape in ((2, 3, 61, 47), (1, 3, 32, 32)):
        first, second = images(*shape)
        with torch.inference_mode():
            expected = original(first, second).flatten()
            torch.testing.assert_close(ours(first, second), expected, atol=1e-6, rtol=0)
        assert (expected > 0.005).all()


@pytest.mark.parametrize("trunk", TRUNKS)
def test_is_zero_for_equal_images_and_symmetric(trunk: Trunk) -> None:
    network = ShiftTolerantLPIPS(trunk)
    first, second = images(2, 3, 32, 24)
    with torch.inference_mode():
        assert network(first, first).tolist() == [0, 0]
        torch.testing.assert_close(network(first, second), network(second, first))


@pytest.mark.parametrize("trunk", TRUNKS)
def test_the_smallest_side_is_the_smallest(trunk: Trunk) -> None:
    network, side = load_trunk(trunk), SMALLEST_SIDE[trunk]
    with torch.inference_mode():
        for height, width in ((side, side), (side, 40), (40, side)):
            assert len(network(torch.zeros(1, 3, height, width))) == 5
        for height, width in ((side - 1, 40), (40, side - 1)):
            with pytest.raises(RuntimeError, match=r"(?i)padding size"):
                network(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize("trunk", TRUNKS)
def test_gradients_pass_through_and_are_finite_even_of_flat_images(trunk: Trunk) -> None:
    network = ShiftTolerantLPIPS(trunk)
    _, second = images(1, 3, 32, 32)
    for first in (images(1, 3, 32, 32, seed=1)[0], torch.full((1, 3, 32, 32), -1.0)):
        image = first.requires_grad_()
        network(image, second).sum().backward()
        assert image.grad is not None
        assert image.grad.isfinite().all()
        assert image.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in network.parameters())


# -- missing and damaged weights ------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another installation of the package, found before the real one; its file of weights."""
    weights = tmp_path / "stlpips_pytorch/weights/vST0.0/alex_shift_tolerant.pth"
    weights.parent.mkdir(parents=True)
    information = tmp_path / "stlpips_pytorch-0.0.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Name: stlpips_pytorch\nVersion: 0.0.2\n")
    (information / "RECORD").write_text(f"{weights.relative_to(tmp_path).as_posix()},,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return weights


def changed(change: Callable[[dict[str, Tensor]], Mapping[str, object]]) -> Callable[[Path], None]:
    """A function that writes changed weights."""

    def write(path: Path) -> None:
        torch.save(change(dict(real_weights())), path)

    return write


def real_weights() -> Mapping[str, Tensor]:
    paths = [Path(folder) / "stlpips_pytorch/weights/vST0.0" for folder in sys.path]
    real = next(path for path in paths if path.joinpath("vgg_shift_tolerant.pth").is_file())
    weights: Mapping[str, Tensor] = torch.load(
        real / "alex_shift_tolerant.pth", map_location="cpu", weights_only=True
    )
    return weights


def truncated(path: Path) -> None:
    torch.save(dict(real_weights()), path)
    path.write_bytes(path.read_bytes()[:-1000])


def broken(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    name = next(name for name in weights if name.startswith("net."))
    return weights | {name: torch.full_like(weights[name], torch.nan)}


@pytest.mark.parametrize(
    "write",
    [
        truncated,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no weights at all"),
        lambda path: torch.save([1, 2], path),
        changed(lambda weights: dict(list(weights.items())[:-7])),
        changed(lambda weights: {name: each[..., :1] for name, each in weights.items()}),
        changed(lambda weights: weights | {"lin3.model.1.weight": torch.ones(1, 7, 1, 1)}),
        changed(lambda weights: weights | {"note": "mine"}),
        changed(broken),
    ],
    ids=["cut", "empty", "text", "list", "fewer", "shapes", "lin", "no tensor", "nan"],
)
def test_the_error_for_damaged_weights_names_the_file(
    installed: Path, write: Callable[[Path], None]
) -> None:
    write(installed)
    with pytest.raises(UserError, match="damaged") as caught:
        ShiftTolerantLPIPS("alex")
    assert str(installed) in str(caught.value)
    assert "pip install --force-reinstall" in str(caught.value)


def test_missing_weights_are_an_error(installed: Path) -> None:
    with pytest.raises(UserError, match=r"lacks its file .*alex_shift_tolerant\.pth: pip install"):
        load_trunk("alex")
    shutil.rmtree(installed.parent)
    with pytest.raises(UserError, match=r"lacks its file .*vgg_shift_tolerant\.pth"):
        load_trunk("vgg")


def test_a_missing_package_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UserError, match=r"not installed.*pip install stlpips-pytorch \(64 MB\)"):
        load_trunk("alex")
