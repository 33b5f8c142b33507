import gc
import json
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from stored_images import store_images

from deepdepixelate import downscale, psnr_y, ssim_y, st_lpips, upscale
from deepdepixelate.data.degrade import degrade
from deepdepixelate.data.shards import (
    ImageBatch,
    ImagePairs,
    ShardedImages,
)
from deepdepixelate.data.writing import write_dataset
from deepdepixelate.errors import UserError
from deepdepixelate.evaluation.scoring import (
    Enlarger,
    Pairs,
    Scores,
    describe_protocol,
    enlargers,
    score,
)
from deepdepixelate.evaluation.statistics import summarise
from deepdepixelate.metrics.identity import Identity
from deepdepixelate.metrics.spectrum import BINS, ring_frequencies, spectrum
from deepdepixelate.metrics.st_lpips import STLPIPS
from deepdepixelate.models.discriminator import Discriminator, DiscriminatorArchitecture
from deepdepixelate.models.generator import Generator, GeneratorArchitecture
from deepdepixelate.models.shift_tolerant import ShiftTolerantTrunk
from deepdepixelate.models.weights import Weights
from deepdepixelate.parallel import available_processors

COUNT = 7
METRICS = ["psnr_y", "ssim_y", "high_frequency_ratio", "st_lpips"]
ST_LPIPS = STLPIPS()


def nearest(images: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    return images.repeat(scale, axis=1).repeat(scale, axis=2)


def picture(seed: int, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """Something coarse with fine noise in its dark parts."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (1, height // 4, width // 4, 3), dtype=np.uint8)
    noise = random.integers(0, 40, (height, width, 3), dtype=np.uint8)
    image: NDArray[np.uint8] = np.maximum(upscale(coarse, 4)[0], noise)
    return image


@dataclass
class Gallery:
    """Images of any sizes, one at a time."""

    images: Sequence[NDArray[np.uint8]]
    scale: int = 4
    names: Sequence[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = self.names or [f"{number}.png" for number in range(len(self.images))]

    def __len__(self) -> int:
        return len(self.images)

    def batches(
        self, size: int, part: range | None = None
    ) -> Iterator[tuple[ImageBatch, ImageBatch]]:
        for name, image in zip(self.names, self.images, strict=True):
            lr = downscale(image[None], self.scale)
            yield ImageBatch([name], image[None]), ImageBatch([name], lr)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> ImagePairs:
    folder = tmp_path_factory.mktemp("pairs")
    pixels = np.stack([picture(seed) for seed in range(COUNT)])
    names = [f"{number}.png" for number in range(COUNT)]
    hr = store_images(folder / "hr", names, pixels, per_shard=3)
    write_dataset(folder / "lr", degrade(hr, 4), split="test")
    return ImagePairs(hr, ShardedImages(folder / "lr"))


def measure(
    sets: dict[str, Pairs],
    models: dict[str, Enlarger],
    *,
    batch_size: int = 3,
    border: int | None = None,
    identity: Identity | None = None,
) -> Scores:
    return score(
        sets,
        models,
        batch_size=batch_size,
        border=border,
        st_lpips=ST_LPIPS,
        identity=identity or Identity(reason="not here"),
    )


def of_test(pairs: Pairs, models: dict[str, Enlarger], **settings: Any) -> pd.DataFrame:
    return measure({"test": pairs}, models, **settings).images


# -- the figures -----------------------------------------------------------------------------------


def test_every_image_and_model_has_its_own_figures(pairs: ImagePairs) -> None:
    models: dict[str, Enlarger] = {"bicubic": upscale, "nearest": nearest}
    scores = of_test(pairs, models, batch_size=2)
    assert list(scores.columns) == ["set", "image", "model", *METRICS]
    assert len(scores) == COUNT * 2
    assert set(scores["set"]) == {"test"}
    rows = scores.set_index(["image", "model"])
    for index, name in enumerate(pairs.hr.names):
        hr = np.array(pairs.hr[index])
        for model, enlarger in models.items():
            sr = enlarger(np.array(pairs.lr[index])[None], 4)[0]
            energies = [spectrum(image, 4, 4).high_frequency_energy for image in (sr, hr)]
            expected = [psnr_y(sr, hr, 4), ssim_y(sr, hr, 4), energies[0] / energies[1]]
            expected.append(st_lpips(sr, hr))
            assert list(rows.loc[(name, model), METRICS]) == pytest.approx(expected, abs=1e-7)


def test_the_batch_size_does_not_change_the_figures(pairs: ImagePairs) -> None:
    whole = measure({"test": pairs}, {"bicubic": upscale}, batch_size=100)
    for batch_size in (1, 2, 3):
        parts = measure({"test": pairs}, {"bicubic": upscale}, batch_size=batch_size)
        pd.testing.assert_frame_equal(parts.images, whole.images, rtol=1e-6)
        pd.testing.assert_frame_equal(parts.spectra, whole.spectra, rtol=1e-12)


def test_models_get_at_most_a_batch_and_the_scale(pairs: ImagePairs) -> None:
    seen = []

    def watching(images: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
        seen.append((len(images), scale))
        return upscale(images, scale)

    of_test(pairs, {"bicubic": watching}, batch_size=2)
    assert seen == [(2, 4), (1, 4), (2, 4), (1, 4), (1, 4)]  # shards of three


def test_the_border_is_the_scale_unless_it_is_given(pairs: ImagePairs) -> None:
    models: dict[str, Enlarger] = {"bicubic": upscale}
    pd.testing.assert_frame_equal(of_test(pairs, models), of_test(pairs, models, border=4))
    sr, hr = upscale(np.array(pairs.lr[0])[None], 4)[0], np.array(pairs.hr[0])
    without = of_test(pairs, models, border=0)
    assert without["psnr_y"][0] == pytest.approx(psnr_y(sr, hr, 0), abs=1e-12)
    assert without["psnr_y"][0] != of_test(pairs, models)["psnr_y"][0]
    ratio = without["high_frequency_ratio"][0]
    energies = [spectrum(image, 0, 4).high_frequency_energy for image in (sr, hr)]
    assert ratio == pytest.approx(energies[0] / energies[1], rel=1e-12)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_the_border_and_the_frequencies_go_by_the_scale_of_the_set(scale: int) -> None:
    hr = picture(0, 64, 48)
    scores = of_test(Gallery([hr], scale), {"bicubic": upscale})
    sr = upscale(downscale(hr[None], scale), scale)[0]
    energies = [spectrum(image, scale, scale).high_frequency_energy for image in (sr, hr)]
    assert scores["psnr_y"][0] == pytest.approx(psnr_y(sr, hr, scale), abs=1e-12)
    assert scores["high_frequency_ratio"][0] == pytest.approx(energies[0] / energies[1])


def test_rows_are_in_order_however_long_an_image_takes() -> None:
    sizes = [(320, 320), (24, 24), (24, 28), (200, 300), (28, 24), (24, 24)]
    gallery = Gallery([picture(seed, *size) for seed, size in enumerate(sizes)])
    small = Gallery([picture(9)], names=["a.png"])
    models: dict[str, Enlarger] = {"srgan": nearest, "bicubic": upscale}
    scores = measure({"z": gallery, "a": small}, models).images
    expected = [("z", name, model) for name in gallery.names for model in models]
    expected += [("a", "a.png", model) for model in models]
    assert list(zip(scores["set"], scores["image"], scores["model"], strict=True)) == expected
    assert list(scores.index) == list(range(len(expected)))
    alone = of_test(Gallery([gallery.images[3]]), models)
    pd.testing.assert_frame_equal(
        scores[METRICS][6:8].reset_index(drop=True), alone[METRICS], rtol=1e-6
    )


@pytest.mark.filterwarnings("error")
def test_an_enlarger_that_keeps_everything_scores_perfectly(pairs: ImagePairs) -> None:
    originals = iter([np.array(pairs.hr[index])[None] for index in range(COUNT)])
    scores = of_test(pairs, {"oracle": lambda lr, scale: next(originals)}, batch_size=1)
    assert (scores["psnr_y"] == np.inf).all()
    np.testing.assert_allclose(scores["ssim_y"], 1, atol=1e-12)
    assert (scores["high_frequency_ratio"] == 1).all()
    assert (scores["st_lpips"] == 0).all()


@pytest.mark.filterwarnings("error")
def test_an_original_without_detail_has_no_share_of_it() -> None:
    flat = np.full((24, 24, 3), 90, np.uint8)
    faint = flat.copy()
    faint[::2, 1::2] = 91  # the least that there can be
    for image, there in ((flat, False), (faint, True)):
        scores = of_test(Gallery([image, picture(0)]), {"nearest": nearest})
        assert np.isfinite(scores["high_frequency_ratio"]).tolist() == [there, True]
        json.dumps(summarise(scores, 4), allow_nan=False)


def test_identity_is_a_column_where_it_can_be_had(pairs: ImagePairs) -> None:
    def brighter(images: Sequence[NDArray[np.uint8]], hr: NDArray[np.uint8]) -> list[float]:
        return [float(sr.mean()) - float(hr.mean()) for sr in images]

    def flat(level: int) -> Enlarger:
        return lambda lr, scale: np.full_like(nearest(lr, scale), level)

    models = {"white": flat(255), "black": flat(0)}
    scores = of_test(pairs, models, identity=Identity(brighter))
    assert list(scores.columns) == ["set", "image", "model", *METRICS, "identity_distance"]
    for model, brightness in (("white", 255), ("black", 0)):
        expected = [brightness - np.array(pairs.hr[index]).mean() for index in range(COUNT)]
        found = scores[scores["model"] == model]["identity_distance"]
        assert list(found) == pytest.approx(expected, abs=1e-9)


def test_images_too_small_for_the_network_are_scored_by_the_other_metrics() -> None:
    gallery = Gallery([picture(0, 20, 20), picture(1, 24, 24), picture(2, 20, 44)])
    scores = of_test(gallery, {"bicubic": upscale, "nearest": nearest})
    assert scores["st_lpips"].isna().tolist() == [True, True, False, False, True, True]
    assert scores["psnr_y"].notna().all()
    summary = summarise(scores, 4)["test"]
    assert summary["not_available"] == {"st_lpips": 2}
    assert summary["models"]["bicubic"]["st_lpips"] == scores["st_lpips"][2]
    json.dumps(summary, allow_nan=False)


def test_the_original_is_looked_at_once_for_all_models(
    pairs: ImagePairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    features = ShiftTolerantTrunk.forward

    def watching(self: ShiftTolerantTrunk, images: torch.Tensor) -> list[torch.Tensor]:
        seen.append(len(images))
        return features(self, images)

    monkeypatch.setattr(ShiftTolerantTrunk, "forward", watching)
    of_test(pairs, {"bicubic": upscale, "nearest": nearest})
    assert sum(seen) == COUNT * 3


def test_an_error_of_a_model_or_a_metric_ends_the_scoring(pairs: ImagePairs) -> None:
    def broken(images: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
        raise ZeroDivisionError

    def of_another_size(images: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
        return nearest(images, 2)

    with pytest.raises(ZeroDivisionError):
        of_test(pairs, {"broken": broken})
    with pytest.raises(ValueError, match="differ in shape"):
        of_test(pairs, {"small": of_another_size})


# -- mean spectra ----------------------------------------------------------------------------------


def test_spectra_are_means_over_the_images_of_each_set(pairs: ImagePairs) -> None:
    gallery = Gallery([picture(seed, 40, 44) for seed in (20, 21)])
    models: dict[str, Enlarger] = {"bicubic": upscale, "nearest": nearest}
    spectra = measure({"test": pairs, "own": gallery}, models).spectra
    assert list(spectra.columns) == ["set", "model", "frequency", "power"]
    assert len(spectra) == 2 * 3 * BINS
    assert list(spectra.index) == list(range(len(spectra)))
    assert list(dict.fromkeys(spectra["set"])) == ["test", "own"]
    assert list(dict.fromkeys(spectra["model"])) == ["hr", "bicubic", "nearest"]
    of_pairs = [np.array(pairs.hr[index]) for index in range(COUNT)]
    originals = {"test": of_pairs, "own": gallery.images}
    for name, images in originals.items():
        for model, enlarger in ({"hr": None} | models).items():
            of_model = spectra[(spectra["set"] == name) & (spectra["model"] == model)]
            np.testing.assert_array_equal(of_model["frequency"], ring_frequencies())
            made = [
                enlarger(downscale(image[None], 4), 4)[0] if enlarger else image for image in images
            ]
            expected = np.mean([spectrum(image, 4, 4).rings for image in made], axis=0)
            np.testing.assert_allclose(of_model["power"], expected, rtol=1e-12)


@pytest.mark.filterwarnings("error")
def test_frequencies_that_some_images_lack_are_means_of_the_others() -> None:
    images = [picture(0, 20, 20), picture(1, 160, 160), picture(2, 20, 24)]
    spectra = measure({"own": Gallery(images)}, {"bicubic": upscale}).spectra
    rings = np.array([spectrum(image, 4, 4).rings for image in images])
    assert np.isfinite(rings).any(axis=0).all()
    assert not np.isfinite(rings).all()
    found = spectra[spectra["model"] == "hr"]["power"]
    np.testing.assert_allclose(found, np.nanmean(rings, axis=0), rtol=1e-12)
    alone = measure({"own": Gallery(images[:1])}, {"bicubic": upscale}).spectra
    np.testing.assert_array_equal(
        np.isfinite(alone[alone["model"] == "bicubic"]["power"]), np.isfinite(rings[0])
    )


# -- memory, and nothing to score ------------------------------------------------------------------


class Endless:
    """Many images, each made when it is asked for; counts how many are still held by somebody."""

    scale = 4

    def __init__(self, count: int, batch: int) -> None:
        self.count, self.batch = count, batch
        self.alive = self.most = 0

    def __len__(self) -> int:
        return self.count

    def batches(
        self, size: int, part: range | None = None
    ) -> Iterator[tuple[ImageBatch, ImageBatch]]:
        for start in range(0, self.count, self.batch):
            names = [str(number) for number in range(start, start + self.batch)]
            pixels = np.stack([picture(start % 5)] * self.batch)
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(pixels, self._gone)
            yield ImageBatch(names, pixels), ImageBatch(names, downscale(pixels, 4))
            del pixels

    def _gone(self) -> None:
        self.alive -= 1


@pytest.mark.parametrize("batch", [1, 4])
def test_a_few_batches_are_held_however_many_images_there_are(batch: int) -> None:
    waiting = 2 * available_processors()
    images = Endless(8 * (waiting + 4), batch)
    scores = of_test(images, {"bicubic": upscale})
    gc.collect()
    assert len(scores) == len(images)
    assert images.most <= -(-waiting // batch) + 3
    assert images.alive == 0


class Partly:
    """Says that it has more images than it gives, as a benchmark that skips some."""

    scale = 4

    def __init__(self, kept: int) -> None:
        self.kept = kept

    def __len__(self) -> int:
        return 5

    def batches(
        self, size: int, part: range | None = None
    ) -> Iterator[tuple[ImageBatch, ImageBatch]]:
        return Gallery([picture(seed) for seed in range(self.kept)]).batches(size)


def test_images_that_do_not_come_have_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(of_test(Partly(2), {"bicubic": upscale})) == 2
    assert "score test: 100%" in capsys.readouterr().err


def test_a_set_without_a_usable_image_is_an_error(pairs: ImagePairs) -> None:
    with pytest.raises(UserError, match="none of the 5 images of mine can be scored"):
        measure({"test": pairs, "mine": Partly(0)}, {"bicubic": upscale})


def test_the_protocol_says_how_the_figures_were_made(pairs: ImagePairs) -> None:
    protocol = describe_protocol(pairs.lr, None)
    assert protocol["border"] == protocol["scale"] == 4
    assert describe_protocol(pairs.lr, 0)["border"] == 0
    assert "bicubic" in protocol["degradation"]
    assert "BT.601" in protocol["channel"]
    assert "Nyquist" in protocol["high_frequency_ratio"]
    assert "Student" in protocol["ci95"]
    assert "AlexNet" in protocol["st_lpips"]
    assert "identity_distance" not in protocol
    assert "0.6" in describe_protocol(pairs.lr, None, faces=True)["identity_lost"]
    assert "degraded_sets" not in protocol
    degraded = {"jpeg": {"degradation": "JPEG", "jpeg_quality": 50}}
    assert describe_protocol(pairs.lr, None, degraded_sets=degraded)["degraded_sets"] == degraded


# -- the models ------------------------------------------------------------------------------------


def make_weights(scale: int = 4) -> Weights:
    torch.manual_seed(0)
    architecture = GeneratorArchitecture(blocks=1, channels=4, scale=scale)
    tensors = Generator(architecture).state_dict()
    return Weights("generator", architecture.model_dump(), tensors, provenance={})


def test_bicubic_is_always_a_model(pairs: ImagePairs) -> None:
    models = enlargers({"srresnet": make_weights(), "srgan": make_weights()}, scale=4, device="cpu")
    assert list(models) == ["bicubic", "srresnet", "srgan"]
    assert list(enlargers({}, scale=4, device="cpu")) == ["bicubic"]
    lr = np.array(pairs.lr[0])[None]
    np.testing.assert_array_equal(models["bicubic"](lr, 4), upscale(lr, 4))


def test_each_model_has_its_own_weights(pairs: ImagePairs) -> None:
    first, second = make_weights(), make_weights()
    for name, tensor in second.tensors.items():
        if name == "tail.bias":
            tensor.add_(0.5)
    models = enlargers({"srresnet": first, "srgan": second}, scale=4, device="cpu")
    lr = np.array(pairs.lr[0])[None]
    assert models["srgan"](lr, 4).mean() > models["srresnet"](lr, 4).mean() + 30


def test_generators_give_images_that_can_be_scored(pairs: ImagePairs) -> None:
    models = enlargers({"srresnet": make_weights()}, scale=4, device="cpu")
    enlarged = models["srresnet"](np.array(pairs.lr[0])[None], 4)
    assert enlarged.dtype == np.uint8
    assert enlarged.shape == (1, 24, 32, 3)
    whole, parts = (of_test(pairs, models, batch_size=size) for size in (7, 2))
    assert np.isfinite(whole[METRICS].to_numpy()).all()
    pd.testing.assert_frame_equal(whole, parts, atol=0.01)


def test_weights_of_another_network_are_an_error() -> None:
    architecture = DiscriminatorArchitecture(channels=2, dense=2, crop_size=16)
    tensors = Discriminator(architecture).state_dict()
    weights = Weights("discriminator", architecture.model_dump(), tensors, provenance={})
    with pytest.raises(UserError, match="discriminator"):
        enlargers({"srgan": weights}, scale=4, device="cpu")


def test_weights_that_do_not_fit_their_architecture_are_an_error() -> None:
    weights = make_weights()
    lacking = {name: tensor for name, tensor in weights.tensors.items() if name != "tail.bias"}
    wrong = dict(weights.architecture) | {"channels": 8}
    for damaged in (
        replace(weights, tensors=lacking),
        replace(weights, architecture=wrong),
        replace(weights, architecture={"blocks": 1, "channels": 4, "scale": 3}),
        replace(weights, architecture={}),
    ):
        with pytest.raises(UserError, match="architecture"):
            enlargers({"srgan": damaged}, scale=4, device="cpu")


def test_a_missing_device_is_an_error() -> None:
    with pytest.raises(UserError, match="'abacus'"):
        enlargers({}, scale=4, device="abacus")


def test_a_generator_of_another_scale_is_an_error() -> None:
    with pytest.raises(UserError, match="srresnet enlarges 4 times, the images are of scale 2"):
        enlargers({"srresnet": make_weights()}, scale=2, device="cpu")
