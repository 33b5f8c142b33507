import hashlib
import json
import logging
import signal
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from tiny_training import (
    DISCRIMINATOR,
    assert_equal,
    gan_parameters,
    pretrain_parameters,
    smooth_images,
    tiny_generator,
    training_parameters,
    vgg22_weights,
    write_pairs,
)

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.errors import UserError
from deepdepixelate.models.discriminator import DiscriminatorArchitecture, build_discriminator
from deepdepixelate.models.perceptual import DEFAULT_FEATURE_SCALE
from deepdepixelate.models.weights import Weights, build_generator, load_weights, save_weights
from deepdepixelate.parameters import PretrainParameters
from deepdepixelate.training.crops import CropSampler
from deepdepixelate.training.distributed import Ranks
from deepdepixelate.training.interruption import InterruptionError
from deepdepixelate.training.session import TrainingData
from deepdepixelate.training.stages import content_network, pretrain, train_gan


class Journal:
    """Remembers what reached ``log``."""

    def __init__(self) -> None:
        self.updates: list[int] = []

    def __call__(self, update: int, measured: Mapping[str, float]) -> None:
        self.updates.append(update)


@dataclass
class Place:
    """Data, and folders for unrelated checkpoints."""

    root: Path
    data: TrainingData
    count: int = 0

    def fresh(self) -> TrainingData:
        self.count += 1
        checkpoints = self.root / f"checkpoints-{self.count}"
        return TrainingData(self.data.train, self.data.val, checkpoints)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    train = write_pairs(tmp_path, smooth_images(6))
    val = write_pairs(tmp_path, smooth_images(2, seed=1), split="val")
    return Place(tmp_path, TrainingData(train, val, tmp_path / "checkpoints"))


@pytest.fixture
def pretrained() -> Weights:
    generator = tiny_generator(channels=4)
    return Weights("generator", generator.architecture.model_dump(), generator.state_dict(), {})


@pytest.fixture
def vgg_file(tmp_path: Path) -> Path:
    save_file(vgg22_weights(), tmp_path / "vgg.safetensors")
    return tmp_path / "vgg.safetensors"


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestPretrain:
    def test_gives_weights_of_a_working_generator(self, place: Place) -> None:
        weights, history = pretrain(
            place.data, pretrain_parameters(), training_parameters(), Journal()
        )
        save_weights(place.root / "srresnet.safetensors", weights)
        generator = build_generator(load_weights(place.root / "srresnet.safetensors"))

        assert weights.kind == "generator"
        assert weights.architecture == {"blocks": 1, "channels": 4, "scale": 4}
        with torch.no_grad():
            assert generator(torch.rand(1, 3, 8, 8)).isfinite().all()
        assert [row["update"] for row in history] == [2, 4]
        assert all(row.keys() >= {"loss", "val.psnr_y", "val.ssim_y"} for row in history)

    def test_provenance_holds_what_decided_the_weights(self, place: Place) -> None:
        weights, _ = pretrain(
            place.data, pretrain_parameters(), training_parameters(seed=3), Journal()
        )
        fingerprint = weights.provenance["fingerprint"]

        assert fingerprint["stage"] == "pretrain"
        assert fingerprint["seed"] == 3
        assert fingerprint["precision"] == "fp32"
        assert fingerprint["settings"]["updates"] == 4
        assert fingerprint["settings"]["learning_rate"]["initial"] == 1e-3
        assert fingerprint["hr"] == place.data.train.hr.manifest.digest
        assert fingerprint["lr"] == place.data.train.lr.manifest.digest

    def test_provenance_holds_the_last_validation(self, place: Place) -> None:
        weights, history = pretrain(
            place.data, pretrain_parameters(), training_parameters(), Journal()
        )
        validation = weights.provenance["validation"]

        assert validation["hr"] == place.data.val.hr.manifest.digest
        assert validation["images"] == 2
        assert validation["psnr_y"] == history[-1]["val.psnr_y"]

    def test_equal_seeds_give_equal_weights_whatever_the_process_drew_before(
        self, place: Place
    ) -> None:
        torch.manual_seed(1)
        first, _ = pretrain(place.fresh(), pretrain_parameters(), training_parameters(), Journal())
        torch.manual_seed(2)
        second, _ = pretrain(place.fresh(), pretrain_parameters(), training_parameters(), Journal())

        assert_equal(second.tensors, first.tensors)
        assert second.digest == first.digest

    def test_different_seeds_give_different_weights(self, place: Place) -> None:
        first, _ = pretrain(
            place.data, pretrain_parameters(), training_parameters(seed=0), Journal()
        )
        second, _ = pretrain(
            place.data, pretrain_parameters(), training_parameters(seed=1), Journal()
        )

        assert first.digest != second.digest

    def test_leaves_the_random_state_of_the_process(self, place: Place) -> None:
        before = torch.get_rng_state()
        pretrain(place.data, pretrain_parameters(), training_parameters(), Journal())

        assert torch.equal(torch.get_rng_state(), before)

    def test_crop_that_does_not_fit_is_refused(self, place: Place) -> None:
        with pytest.raises(UserError, match="crop_size must be a multiple"):
            pretrain(
                place.data, pretrain_parameters(crop_size=64), training_parameters(), Journal()
            )

    @pytest.mark.parametrize("kind", ["hr", "lr"])
    @pytest.mark.parametrize("split", ["train", "val"])
    def test_damaged_images_are_not_trained_on(self, place: Place, kind: str, split: str) -> None:
        shard = place.root / kind / split / "shard-00000.npy"
        content = bytearray(shard.read_bytes())
        content[-10] ^= 0xFF
        shard.write_bytes(content)
        journal = Journal()
        with pytest.raises(UserError, match=r"shard-00000\.npy is damaged"):
            pretrain(place.data, pretrain_parameters(), training_parameters(), journal)
        assert journal.updates == []


class TestSecondRun:
    def test_of_the_same_training_gives_the_same_and_trains_nothing(self, place: Place) -> None:
        first, history = pretrain(
            place.data, pretrain_parameters(), training_parameters(), Journal()
        )
        before = files(place.data.checkpoints)
        journal = Journal()
        second, again = pretrain(place.data, pretrain_parameters(), training_parameters(), journal)

        assert journal.updates == []
        assert again == history
        assert second.digest == first.digest
        assert second.provenance == first.provenance
        assert files(place.data.checkpoints) == before

    def test_with_restart_starts_from_scratch(self, place: Place) -> None:
        first, _ = pretrain(place.data, pretrain_parameters(), training_parameters(), Journal())
        journal = Journal()
        second, history = pretrain(
            place.data, pretrain_parameters(restart=True), training_parameters(), journal
        )

        assert journal.updates == [2, 4]
        assert [row["update"] for row in history] == [2, 4]
        assert second.digest == first.digest
        assert len(list(place.data.checkpoints.iterdir())) == 1

    @pytest.mark.parametrize(
        ("settings", "shared"),
        [
            ({"batch_size": 3}, {}),
            ({"updates": 6}, {}),
            ({"learning_rate": {"initial": 2e-3, "schedule": "cosine"}}, {}),
            ({"generator": {"blocks": 2, "channels": 4}}, {}),
            ({}, {"seed": 1}),
            ({}, {"precision": "bf16"}),
            ({}, {"batch_norm_updates": 2}),
        ],
    )
    def test_with_changed_settings_leaves_the_earlier_checkpoints(
        self, place: Place, settings: dict[str, Any], shared: dict[str, Any]
    ) -> None:
        first, _ = pretrain(place.data, pretrain_parameters(), training_parameters(), Journal())
        before = files(place.data.checkpoints)
        journal = Journal()
        second, _ = pretrain(
            place.data,
            pretrain_parameters(**settings, restart=True),
            training_parameters(**shared),
            journal,
        )
        after = files(place.data.checkpoints)

        assert journal.updates[0] == 2
        assert second.digest != first.digest
        assert {path: after.get(path) for path in before} == before
        assert len(list(place.data.checkpoints.iterdir())) == 2

    def test_with_other_data_leaves_the_earlier_checkpoints(self, place: Place) -> None:
        pretrain(place.data, pretrain_parameters(), training_parameters(), Journal())
        before = files(place.data.checkpoints)
        other = write_pairs(place.root / "other", smooth_images(6, seed=9))
        journal = Journal()
        changed = TrainingData(other, place.data.val, place.data.checkpoints)
        pretrain(changed, pretrain_parameters(), training_parameters(), journal)
        after = files(place.data.checkpoints)

        assert journal.updates == [2, 4]
        assert {path: after.get(path) for path in before} == before
        assert len(list(place.data.checkpoints.iterdir())) == 2

    def test_with_other_watching_continues(self, place: Place) -> None:
        pretrain(place.data, pretrain_parameters(), training_parameters(), Journal())
        journal = Journal()
        watching = {"validate_every": 1, "validation_images": 1, "checkpoint_every": 1}
        pretrain(
            place.data, pretrain_parameters(**watching), training_parameters(log_every=1), journal
        )

        assert journal.updates == []


class TestStartFrom:
    def test_starts_from_weights_in_a_file(
        self, place: Place, pretrained: Weights, tmp_path: Path
    ) -> None:
        path = tmp_path / "earlier.safetensors"
        save_weights(path, pretrained)
        still = {"updates": 1, "learning_rate": {"initial": 1e-12, "schedule": "constant"}}
        weights, _ = pretrain(
            place.fresh(),
            pretrain_parameters(start_from=str(path), **still),
            training_parameters(),
            Journal(),
        )
        for name, tensor in pretrained.tensors.items():
            if name.endswith(("weight", "bias")):
                torch.testing.assert_close(weights.tensors[name], tensor, rtol=0, atol=1e-9)
        assert weights.provenance["fingerprint"]["start_from"] == pretrained.digest
        assert weights.provenance["trained_from"] == pretrained.lineage()

    def test_other_weights_are_another_training(
        self, place: Place, pretrained: Weights, tmp_path: Path
    ) -> None:
        path = tmp_path / "earlier.safetensors"
        save_weights(path, pretrained)
        first, _ = pretrain(
            place.fresh(),
            pretrain_parameters(start_from=str(path)),
            training_parameters(),
            Journal(),
        )
        save_weights(path, first)
        second, _ = pretrain(
            place.fresh(),
            pretrain_parameters(start_from=str(path)),
            training_parameters(),
            Journal(),
        )
        assert second.digest != first.digest

    def test_weights_of_another_architecture_are_refused(
        self, place: Place, pretrained: Weights, tmp_path: Path
    ) -> None:
        path = tmp_path / "earlier.safetensors"
        save_weights(path, pretrained)
        wrong = pretrain_parameters(start_from=str(path), generator={"blocks": 2, "channels": 4})
        with pytest.raises(UserError, match="1 blocks of 4 channels for 4x; the parameters"):
            pretrain(place.fresh(), wrong, training_parameters(), Journal())

    def test_missing_weights_are_refused(self, place: Place) -> None:
        with pytest.raises(UserError, match="there is no model nowhere"):
            pretrain(
                place.fresh(),
                pretrain_parameters(start_from="nowhere"),
                training_parameters(),
                Journal(),
            )


class TestTrainGan:
    @pytest.mark.parametrize("kind", ["paper", "unet"])
    def test_gives_generator_and_discriminator(
        self, place: Place, pretrained: Weights, kind: str
    ) -> None:
        settings = gan_parameters(discriminator=DISCRIMINATOR | {"kind": kind})
        generator, discriminator, history = train_gan(
            place.data, pretrained, settings, training_parameters(), Journal()
        )

        assert generator.kind == "generator"
        assert generator.architecture == pretrained.architecture
        assert generator.digest != pretrained.digest
        build_generator(generator)
        assert discriminator.kind == "discriminator"
        rebuilt = build_discriminator(
            DiscriminatorArchitecture.model_validate(dict(discriminator.architecture))
        )
        rebuilt.load_state_dict(dict(discriminator.tensors))
        assert [row["update"] for row in history] == [2, 4]
        assert history[0].keys() >= {"content_loss", "adversarial_loss", "discriminator_loss"}

    def test_trains_on_the_features_of_shift_tolerant_lpips(
        self, place: Place, pretrained: Weights
    ) -> None:
        settings = gan_parameters(
            updates=2, crop_size=32, content="st_lpips", pixel_weight=1.0, grid_weight=0.3
        )
        generator, _, history = train_gan(
            place.data, pretrained, settings, training_parameters(), Journal()
        )

        row = history[-1]
        assert row["content_loss"] > 0
        assert row["loss"] == pytest.approx(
            row["content_loss"]
            + 1e-3 * row["adversarial_loss"]
            + row["pixel_loss"]
            + 0.3 * row["grid_loss"]
        )
        assert generator.provenance["fingerprint"]["content_weights"] is not None

    def test_crops_too_small_for_the_features_are_refused(self) -> None:
        with pytest.raises(ValidationError, match="crop_size"):
            gan_parameters(crop_size=16, content="st_lpips")

    def test_provenance_holds_what_decided_the_weights(
        self, place: Place, pretrained: Weights
    ) -> None:
        generator, discriminator, _ = train_gan(
            place.data, pretrained, gan_parameters(), training_parameters(), Journal()
        )
        fingerprint = generator.provenance["fingerprint"]

        assert fingerprint["stage"] == "train_gan"
        assert fingerprint["pretrained"] == pretrained.digest
        assert fingerprint["settings"]["content"] == "mse"
        assert discriminator.provenance["fingerprint"] == fingerprint
        assert generator.provenance["trained_from"] == pretrained.lineage()
        assert "trained_from" not in pretrained.provenance

    def test_starts_from_the_pretrained_weights(self, place: Place, pretrained: Weights) -> None:
        still = {"learning_rate": {"initial": 1e-12, "schedule": "constant"}}
        generator, _, _ = train_gan(
            place.data, pretrained, gan_parameters(**still), training_parameters(), Journal()
        )

        for name in ("head.0.weight", "body.0.body.0.weight", "tail.weight"):
            torch.testing.assert_close(
                generator.tensors[name], pretrained.tensors[name], rtol=0, atol=1e-8
            )

    def test_the_discriminator_starts_from_that_of_an_earlier_training(
        self, place: Place, pretrained: Weights, tmp_path: Path
    ) -> None:
        _, earlier, _ = train_gan(
            place.fresh(), pretrained, gan_parameters(), training_parameters(), Journal()
        )
        path = tmp_path / "earlier.safetensors"
        save_weights(path, earlier)
        still = {"updates": 1, "learning_rate": {"initial": 1e-12, "schedule": "constant"}}
        generator, discriminator, _ = train_gan(
            place.fresh(),
            pretrained,
            gan_parameters(**still, discriminator=DISCRIMINATOR | {"start_from": path}),
            training_parameters(),
            Journal(),
        )

        for name, tensor in earlier.tensors.items():
            if name.endswith(("weight", "bias")):
                torch.testing.assert_close(discriminator.tensors[name], tensor, rtol=0, atol=1e-9)
        fingerprint = generator.provenance["fingerprint"]
        assert fingerprint["settings"]["discriminator"]["start_from"] == earlier.digest

    @pytest.mark.parametrize("wrong", [{"channels": 4}, {"kind": "unet"}, {"dense": 8}])
    def test_a_discriminator_of_another_shape_is_refused(
        self, place: Place, pretrained: Weights, tmp_path: Path, wrong: dict[str, object]
    ) -> None:
        _, earlier, _ = train_gan(
            place.fresh(), pretrained, gan_parameters(), training_parameters(), Journal()
        )
        path = tmp_path / "earlier.safetensors"
        save_weights(path, earlier)
        settings = gan_parameters(discriminator=DISCRIMINATOR | wrong | {"start_from": path})
        with pytest.raises(UserError, match=r"of a discriminator with .*channels=2.*ask for"):
            train_gan(place.fresh(), pretrained, settings, training_parameters(), Journal())

    def test_a_generator_is_no_discriminator(
        self, place: Place, pretrained: Weights, tmp_path: Path
    ) -> None:
        path = tmp_path / "generator.safetensors"
        save_weights(path, pretrained)
        settings = gan_parameters(discriminator=DISCRIMINATOR | {"start_from": path})
        with pytest.raises(UserError, match="are of a generator with"):
            train_gan(place.fresh(), pretrained, settings, training_parameters(), Journal())

    def test_leaves_the_pretrained_weights_as_they_are(
        self, place: Place, pretrained: Weights
    ) -> None:
        before = pretrained.digest
        train_gan(place.data, pretrained, gan_parameters(), training_parameters(), Journal())

        assert pretrained.digest == before

    def test_with_vgg22_content(self, place: Place, pretrained: Weights, vgg_file: Path) -> None:
        settings = gan_parameters(content="vgg22", vgg_weights=vgg_file)
        with_vgg, _, history = train_gan(
            place.fresh(), pretrained, settings, training_parameters(), Journal()
        )
        with_mse, _, _ = train_gan(
            place.fresh(), pretrained, gan_parameters(), training_parameters(), Journal()
        )

        assert history[-1]["content_loss"] > 0.0
        assert with_vgg.digest != with_mse.digest
        assert with_vgg.tensors.keys() == pretrained.tensors.keys()

    def test_other_vgg_weights_are_another_training(
        self, place: Place, pretrained: Weights, vgg_file: Path
    ) -> None:
        settings = gan_parameters(content="vgg22", vgg_weights=vgg_file)
        first, _, _ = train_gan(place.data, pretrained, settings, training_parameters(), Journal())
        save_file(vgg22_weights(seed=1), vgg_file)
        journal = Journal()
        second, _, _ = train_gan(place.data, pretrained, settings, training_parameters(), journal)

        assert journal.updates == [2, 4]
        assert second.digest != first.digest

    def test_the_same_vgg_weights_elsewhere_are_the_same_training(
        self, place: Place, pretrained: Weights, vgg_file: Path
    ) -> None:
        settings = gan_parameters(content="vgg22", vgg_weights=vgg_file)
        train_gan(place.data, pretrained, settings, training_parameters(), Journal())
        moved = vgg_file.rename(vgg_file.with_name("moved.safetensors"))
        journal = Journal()
        settings = gan_parameters(content="vgg22", vgg_weights=moved)
        weights, _, _ = train_gan(place.data, pretrained, settings, training_parameters(), journal)

        assert journal.updates == []
        assert str(moved) not in str(weights.provenance)

    def test_other_pretrained_weights_are_another_training(
        self, place: Place, pretrained: Weights
    ) -> None:
        train_gan(place.data, pretrained, gan_parameters(), training_parameters(), Journal())
        other = tiny_generator(seed=5, channels=4)
        changed = Weights("generator", other.architecture.model_dump(), other.state_dict(), {})
        journal = Journal()
        train_gan(place.data, changed, gan_parameters(), training_parameters(), journal)

        assert journal.updates == [2, 4]

    def test_second_run_gives_the_same_and_trains_nothing(
        self, place: Place, pretrained: Weights
    ) -> None:
        first = train_gan(
            place.data, pretrained, gan_parameters(), training_parameters(), Journal()
        )
        journal = Journal()
        second = train_gan(place.data, pretrained, gan_parameters(), training_parameters(), journal)

        assert journal.updates == []
        assert second[0].digest == first[0].digest
        assert second[1].digest == first[1].digest
        assert second[2] == first[2]

    def test_equal_seeds_give_equal_weights(self, place: Place, pretrained: Weights) -> None:
        torch.manual_seed(1)
        first = train_gan(
            place.fresh(), pretrained, gan_parameters(), training_parameters(), Journal()
        )
        torch.manual_seed(2)
        second = train_gan(
            place.fresh(), pretrained, gan_parameters(), training_parameters(), Journal()
        )

        assert_equal(second[0].tensors, first[0].tensors)
        assert_equal(second[1].tensors, first[1].tensors)

    def test_different_seeds_give_different_weights(
        self, place: Place, pretrained: Weights
    ) -> None:
        first = train_gan(
            place.data, pretrained, gan_parameters(), training_parameters(seed=0), Journal()
        )
        second = train_gan(
            place.data, pretrained, gan_parameters(), training_parameters(seed=1), Journal()
        )

        assert first[0].digest != second[0].digest
        assert first[1].digest != second[1].digest

    @pytest.mark.parametrize("content", ["mse", "vgg22"])
    def test_leaves_the_random_state_of_the_process(
        self, place: Place, pretrained: Weights, vgg_file: Path, content: str
    ) -> None:
        settings = gan_parameters(content=content, vgg_weights=vgg_file)
        before = torch.get_rng_state()
        train_gan(place.data, pretrained, settings, training_parameters(), Journal())

        assert torch.equal(torch.get_rng_state(), before)

    def test_pretrained_weights_of_another_scale_are_refused(self, place: Place) -> None:
        generator = tiny_generator(channels=4, scale=2)
        weights = Weights(
            "generator", generator.architecture.model_dump(), generator.state_dict(), {}
        )
        with pytest.raises(UserError, match="scale"):
            train_gan(place.data, weights, gan_parameters(), training_parameters(), Journal())

    def test_missing_vgg_weights_are_refused(
        self, place: Place, pretrained: Weights, tmp_path: Path
    ) -> None:
        settings = gan_parameters(content="vgg22", vgg_weights=tmp_path / "gone.pth")
        with pytest.raises(UserError, match=r"gone\.pth are not there"):
            train_gan(place.data, pretrained, settings, training_parameters(), Journal())


class TestContentNetwork:
    def test_mse_needs_none(self) -> None:
        assert content_network(gan_parameters()) is None

    @pytest.mark.parametrize(("asked", "given"), [(None, 1.0), (0.25, 0.25)])
    def test_scale_is_the_settings_or_the_default(
        self, vgg_file: Path, asked: float | None, given: float
    ) -> None:
        network = content_network(
            gan_parameters(content="vgg22", vgg_weights=vgg_file, vgg_feature_scale=asked)
        )

        assert network is not None
        assert DEFAULT_FEATURE_SCALE["vgg22"] == 1.0
        assert network.feature_scale == given


def forget_the_format(checkpoints: Path) -> Path:
    """Make the only training look as the first format did; its folder."""
    (folder,) = checkpoints.iterdir()
    values = json.loads((folder / "fingerprint.json").read_text())
    assert values.pop("format") == 2
    assert values.pop("processes") is None
    content = json.dumps(values, sort_keys=True, indent=1)
    (folder / "fingerprint.json").write_text(content)
    return folder.rename(folder.with_name(hashlib.sha256(content.encode()).hexdigest()[:12]))


class TestResumes:
    def test_a_training_in_the_first_format(self, place: Place) -> None:
        first, _ = pretrain(place.data, pretrain_parameters(), training_parameters(), Journal())
        folder = forget_the_format(place.data.checkpoints)
        (folder / "update-000000004.pt").unlink()
        journal = Journal()
        second, _ = pretrain(place.data, pretrain_parameters(), training_parameters(), journal)

        assert journal.updates == [4]
        assert_equal(second.tensors, first.tensors)
        assert list(place.data.checkpoints.iterdir()) == [folder]
        assert "update-000000004.pt" in {path.name for path in folder.iterdir()}

    def test_a_shorter_training_with_the_same_rates(
        self, place: Place, caplog: pytest.LogCaptureFixture
    ) -> None:
        rate = {"learning_rate": {"initial": 1e-3, "schedule": "constant"}}
        expected, _ = pretrain(
            place.fresh(), pretrain_parameters(updates=8, **rate), training_parameters(), Journal()
        )
        pretrain(place.data, pretrain_parameters(**rate), training_parameters(), Journal())
        before = files(place.data.checkpoints)
        journal = Journal()
        with caplog.at_level(logging.INFO):
            made, history = pretrain(
                place.data, pretrain_parameters(updates=8, **rate), training_parameters(), journal
            )

        assert journal.updates == [6, 8]
        assert [row["update"] for row in history] == [2, 4, 6, 8]
        assert_equal(made.tensors, expected.tensors)
        assert made.provenance["fingerprint"]["settings"]["updates"] == 8
        assert {path: files(place.data.checkpoints)[path] for path in before} == before
        assert (
            caplog.text.count(
                "shares its first updates with another training and resumes it after update 4"
            )
            == 1
        )

    def test_no_shorter_training_if_it_restarts(self, place: Place) -> None:
        rate = {"learning_rate": {"initial": 1e-3, "schedule": "constant"}}
        pretrain(place.data, pretrain_parameters(**rate), training_parameters(), Journal())
        journal = Journal()
        settings = pretrain_parameters(updates=8, restart=True, **rate)
        pretrain(place.data, settings, training_parameters(), journal)
        assert journal.updates == [2, 4, 6, 8]

    def test_a_training_of_as_many_processes_if_each_has_its_own_statistics(
        self, place: Place
    ) -> None:
        settings, own = pretrain_parameters(), training_parameters(sync_batch_norm=False)
        alone, _ = pretrain(place.data, settings, own, Journal())
        assert alone.provenance["fingerprint"]["processes"] is None
        journal = Journal()
        pretrain(place.data, settings, own, journal)
        assert journal.updates == []
        with pytest.raises(UserError, match="could not be read"):
            pretrain(place.data, settings, own, journal, ranks=Ranks(trained_by=2))


def test_a_finished_training_is_read_without_its_images(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a training in other processes, which have checked and loaded them."""
    first, _ = pretrain(place.data, pretrain_parameters(), training_parameters(), Journal())
    monkeypatch.setattr(ImagePairs, "verify", lambda pairs: pytest.fail("verified again"))
    monkeypatch.setattr(CropSampler, "__init__", lambda *_, **__: pytest.fail("opened again"))
    reader = Ranks(device="cpu", trained_by=2)
    # On a Mac, "auto" is Apple's GPU for one process, and the CPU for several.
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for ranks, device in ((reader, "auto"), (Ranks(), "cpu")):
        journal = Journal()
        read, _ = pretrain(
            place.data,
            pretrain_parameters(),
            training_parameters(device=device),
            journal,
            ranks=ranks,
        )
        assert_equal(read.tensors, first.tensors)
        assert journal.updates == []


def test_after_a_restart_was_interrupted_the_message_says_what_works(place: Place) -> None:
    def stopped(settings: PretrainParameters) -> str:
        signalled = Ranks(stop_signals=lambda: nullcontext(lambda: signal.SIGTERM))
        with pytest.raises(InterruptionError) as caught:
            pretrain(place.data, settings, training_parameters(), Journal(), ranks=signalled)
        return str(caught.value)

    assert "Run the same command again to resume from update 1" in stopped(pretrain_parameters())
    message = stopped(pretrain_parameters(restart=True))
    assert "without pretrain.restart=true, which starts from scratch, to resume" in message
    assert "after update 2 of 4" in stopped(pretrain_parameters())
