import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from deepdepixelate.errors import UserError
from deepdepixelate.models.discriminator import Discriminator, DiscriminatorArchitecture
from deepdepixelate.models.generator import Generator, GeneratorArchitecture
from deepdepixelate.models.weights import (
    Weights,
    build_generator,
    keep_previous,
    load_weights,
    save_weights,
)

ARCHITECTURE = GeneratorArchitecture(blocks=1, channels=4, scale=2)
PROVENANCE = {"fingerprint": {"stage": "pretrain", "seed": 3, "rates": [0.1, 0.2]}, "commit": "ä"}


@pytest.fixture
def weights() -> Weights:
    torch.manual_seed(0)
    generator = Generator(ARCHITECTURE)
    generator(torch.rand(2, 3, 6, 6))  # batch-norm statistics other than the initial ones
    return Weights(
        kind="generator",
        architecture=ARCHITECTURE.model_dump(),
        tensors=generator.state_dict(),
        provenance=PROVENANCE,
    )


def test_come_back_as_they_were_saved(tmp_path: Path, weights: Weights) -> None:
    save_weights(tmp_path / "deep" / "srresnet.safetensors", weights)
    loaded = load_weights(tmp_path / "deep" / "srresnet.safetensors")

    assert loaded.kind == "generator"
    assert loaded.architecture == {"blocks": 1, "channels": 4, "scale": 2}
    assert loaded.provenance == PROVENANCE
    assert loaded.tensors.keys() == weights.tensors.keys()
    for name, tensor in weights.tensors.items():
        assert torch.equal(loaded.tensors[name], tensor), name
        assert loaded.tensors[name].dtype == tensor.dtype, name


def test_header_can_be_read_by_others(tmp_path: Path, weights: Weights) -> None:
    save_weights(tmp_path / "w.safetensors", weights)
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        metadata = file.metadata()

    assert metadata["kind"] == "generator"
    assert json.loads(metadata["architecture"]) == {"blocks": 1, "channels": 4, "scale": 2}
    assert json.loads(metadata["provenance"]) == PROVENANCE


def test_channels_last_weights_are_saved_alike(tmp_path: Path, weights: Weights) -> None:
    turned = {
        name: tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for name, tensor in weights.tensors.items()
    }
    save_weights(tmp_path / "w.safetensors", replace(weights, tensors=turned))

    assert replace(weights, tensors=turned).digest == weights.digest
    assert load_weights(tmp_path / "w.safetensors").digest == weights.digest


def test_digest_is_of_the_tensors_alone(tmp_path: Path, weights: Weights) -> None:
    reordered = dict(sorted(weights.tensors.items(), reverse=True))
    save_weights(tmp_path / "other.safetensors", replace(weights, provenance={}, tensors=reordered))

    assert load_weights(tmp_path / "other.safetensors").digest == weights.digest


def test_digest_depends_on_values_and_names(weights: Weights) -> None:
    changed = {name: tensor.clone() for name, tensor in weights.tensors.items()}
    changed["tail.bias"][0] += 1e-6
    renamed = dict(weights.tensors)
    renamed["tail.bias_"] = renamed.pop("tail.bias")

    assert replace(weights, tensors=changed).digest != weights.digest
    assert replace(weights, tensors=renamed).digest != weights.digest


def test_generator_computes_as_before(tmp_path: Path, weights: Weights) -> None:
    original = Generator(ARCHITECTURE)
    original.load_state_dict(dict(weights.tensors))
    save_weights(tmp_path / "w.safetensors", weights)
    rebuilt = build_generator(load_weights(tmp_path / "w.safetensors"))
    lr = torch.rand(1, 3, 5, 7)

    assert not rebuilt.training
    assert rebuilt.architecture == ARCHITECTURE
    with torch.no_grad():
        assert torch.equal(rebuilt(lr), original.eval()(lr))


def test_failed_save_leaves_the_earlier_file(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, weights)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_weights(path, replace(weights, provenance={"not": {"json"}}))

    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.safetensors are not there"):
        load_weights(tmp_path / "gone.safetensors")


def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        load_weights(tmp_path)


def cut_tail(content: bytes) -> bytes:
    return content[:-100]


def cut_header(content: bytes) -> bytes:
    return content[:50]


def empty(content: bytes) -> bytes:
    return b""


def overwrite(content: bytes) -> bytes:
    return b"PK\x03\x04 not a safetensors file at all" * 10


@pytest.mark.parametrize("damage", [cut_tail, cut_header, empty, overwrite])
def test_damaged_file_is_refused(
    tmp_path: Path, weights: Weights, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, weights)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"w\.safetensors are damaged"):
        load_weights(path)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"kind": "vae", "architecture": "{}", "provenance": "{}"},
        {"kind": "generator", "provenance": "{}"},
        {"kind": "generator", "architecture": "{}"},
        {"kind": "generator", "architecture": "{blocks", "provenance": "{}"},
    ],
)
def test_foreign_file_is_refused(
    tmp_path: Path, weights: Weights, metadata: dict[str, str] | None
) -> None:
    save_file(dict(weights.tensors), tmp_path / "w.safetensors", metadata)
    with pytest.raises(UserError, match=r"w\.safetensors was not written by DeepDepixelate"):
        load_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("wrong", [{"channels": 8}, {"blocks": 2}, {"scale": 4}])
def test_architecture_that_does_not_fit_the_weights_is_refused(
    weights: Weights, wrong: dict[str, int]
) -> None:
    with pytest.raises(UserError, match="do not fit their architecture"):
        build_generator(replace(weights, architecture={**weights.architecture, **wrong}))


@pytest.mark.parametrize("wrong", [{"scale": 3}, {"blocks": "many"}, {"heads": 8}])
def test_impossible_architecture_is_refused(weights: Weights, wrong: dict[str, int | str]) -> None:
    with pytest.raises(UserError, match="impossible architecture"):
        build_generator(replace(weights, architecture={**weights.architecture, **wrong}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["tail.bias", "body.0.body.1.running_var"])
def test_weights_that_are_not_finite_are_refused(
    tmp_path: Path, weights: Weights, name: str, value: float
) -> None:
    broken = {name: tensor.clone() for name, tensor in weights.tensors.items()}
    broken[name][0] = value
    save_weights(tmp_path / "w.safetensors", replace(weights, tensors=broken))
    with pytest.raises(UserError, match=rf"w\.safetensors cannot be used: {name} holds NaN"):
        load_weights(tmp_path / "w.safetensors")


def test_discriminator_is_not_a_generator(tmp_path: Path) -> None:
    architecture = DiscriminatorArchitecture(channels=2, dense=4, crop_size=16)
    discriminator = Weights(
        kind="discriminator",
        architecture=architecture.model_dump(),
        tensors=Discriminator(architecture).state_dict(),
        provenance={},
    )
    save_weights(tmp_path / "d.safetensors", discriminator)
    loaded = load_weights(tmp_path / "d.safetensors")

    assert loaded.kind == "discriminator"
    with pytest.raises(UserError, match="of a discriminator; a generator is needed"):
        build_generator(loaded)


def trained(weights: Weights, seed: int, stage: str = "pretrain", **validation: object) -> Weights:
    """Weights of a training with this seed, and its validation."""
    return replace(
        weights,
        tensors={name: tensor + seed for name, tensor in weights.tensors.items()},
        provenance={
            "fingerprint": {"stage": stage, "seed": seed},
            "validation": {"hr": "a", "lr": "b", "images": 8, **validation},
        },
    )


@pytest.mark.parametrize(
    ("stage", "before", "after", "reason"),
    [
        ("pretrain", {"psnr_y": 28.0}, {"psnr_y": 25.5}, "PSNR was better (28.000, now 25.500)"),
        ("pretrain", {"psnr_y": 28.0}, {"psnr_y": 28.0}, None),
        ("pretrain", {"psnr_y": 28.0}, {"psnr_y": 28.5}, None),
        ("train_gan", {"st_lpips": 0.1}, {"st_lpips": 0.2}, "ST-LPIPS was better"),
        ("train_gan", {"st_lpips": 0.2, "psnr_y": 29}, {"st_lpips": 0.1, "psnr_y": 28}, None),
        ("train_gan", {"psnr_y": 29}, {"psnr_y": 29}, "no validation ST-LPIPS to compare"),
        ("pretrain", {"psnr_y": 28.0}, {"psnr_y": 29.0, "lr": "c"}, "validated on other images"),
        ("pretrain", {"psnr_y": 28.0}, {"psnr_y": 29.0, "images": 9}, "validated on other images"),
    ],
)
def test_a_replaced_file_is_kept_if_it_may_be_better(
    tmp_path: Path,
    weights: Weights,
    caplog: pytest.LogCaptureFixture,
    stage: str,
    before: dict[str, object],
    after: dict[str, object],
    reason: str | None,
) -> None:
    caplog.set_level("INFO")
    path = tmp_path / "srresnet.safetensors"
    old = trained(weights, 1, stage, **before)
    keep_previous(path, old)  # there is nothing yet
    save_weights(path, old)
    keep_previous(path, trained(weights, 2, stage, **after))
    kept = list(tmp_path.glob("srresnet.previous-*.safetensors"))
    if reason is None:
        assert kept == []
        assert caplog.messages == []
    else:
        assert [load_weights(each).digest for each in kept] == [old.digest]
        (message,) = caplog.messages
        assert reason in message
        assert kept[0].name in message


def test_the_file_of_the_same_training_is_not_kept(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "srresnet.safetensors"
    save_weights(path, trained(weights, 1, psnr_y=28.0))
    keep_previous(path, trained(weights, 1, psnr_y=27.9))
    keep_previous(path, replace(trained(weights, 1), provenance={}))  # equal tensors
    keep_previous(path, replace(trained(weights, 2), kind="discriminator"))
    path.write_bytes(b"damaged")
    keep_previous(path, trained(weights, 2, psnr_y=20.0))
    assert list(tmp_path.iterdir()) == [path]
