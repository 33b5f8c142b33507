import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from deepdepixelate.errors import UserError
from deepdepixelate.evaluation.scoring import (
    as_metrics,
    describe_protocol,
    enlargers,
    score_pairs,
    summarise,
)
from deepdepixelate.imaging import psnr_y, ssim_y, upscale
from deepdepixelate.imaging.ingestion import degrade
from deepdepixelate.imaging.shards import (
    ImageBatch,
    ImagePairs,
    ImageStream,
    ShardedImages,
    write_shards,
)
from deepdepixelate.models.generator import Generator, GeneratorArchitecture
from deepdepixelate.models.weights import Weights

COUNT = 7


def nearest(images: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    return images.repeat(scale, axis=1).repeat(scale, axis=2)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> ImagePairs:
    folder = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (COUNT, 6, 8, 3), dtype=np.uint8)
    noise = random.integers(0, 40, (COUNT, 24, 32, 3), dtype=np.uint8)
    pixels = np.maximum(upscale(coarse, 4), noise)
    names = [f"{number}.png" for number in range(COUNT)]
    write_shards(
        folder / "hr",
        ImageStream([ImageBatch(names, pixels)]),
        split="test",
        images_per_shard=3,
    )
    hr = ShardedImages(folder / "hr")
    write_shards(folder / "lr", degrade(hr, 4), split="test", images_per_shard=3)
    return ImagePairs(hr, ShardedImages(folder / "lr"))


def test_every_image_and_model_has_its_own_figures(pairs: ImagePairs) -> None:
    models = {"bicubic": upscale, "nearest": nearest}
    scores = score_pairs("test", pairs, models, batch_size=2, border=None)
    assert list(scores.columns) == ["set", "image", "model", "psnr_y", "ssim_y"]
    assert len(scores) == COUNT * 2
    assert set(scores["set"]) == {"test"}
    rows = scores.set_index(["image", "model"])
    for index, name in enumerate(pairs.hr.names):
        for model, enlarger in models.items():
            sr = enlarger(np.array(pairs.lr[index])[None], 4)[0]
            psnr, ssim = rows.loc[(name, model), ["psnr_y", "ssim_y"]]
            assert psnr == pytest.approx(psnr_y(sr, pairs.hr[index], 4), abs=1e-12)
            assert ssim == pytest.approx(ssim_y(sr, pairs.hr[index], 4), abs=1e-12)


def test_the_batch_size_does_not_change_the_figures(pairs: ImagePairs) -> None:
    whole = score_pairs("test", pairs, {"bicubic": upscale}, batch_size=100, border=None)
    for batch_size in (1, 2, 3):
        parts = score_pairs("test", pairs, {"bicubic": upscale}, batch_size=batch_size, border=None)
        pd.testing.assert_frame_equal(parts, whole, rtol=1e-12)


def test_the_border_is_the_scale_unless_it_is_given(pairs: ImagePairs) -> None:
    def scores(border: int | None) -> pd.DataFrame:
        return score_pairs("test", pairs, {"bicubic": upscale}, batch_size=4, border=border)

    pd.testing.assert_frame_equal(scores(None), scores(4))
    sr = upscale(np.array(pairs.lr[0])[None], 4)[0]
    assert scores(0)["psnr_y"][0] == pytest.approx(psnr_y(sr, pairs.hr[0], 0), abs=1e-12)
    assert scores(0)["psnr_y"][0] != scores(4)["psnr_y"][0]


def test_an_enlarger_that_keeps_everything_scores_perfectly(pairs: ImagePairs) -> None:
    originals = iter([np.array(pairs.hr[index])[None] for index in range(COUNT)])
    scores = score_pairs(
        "test", pairs, {"oracle": lambda lr, scale: next(originals)}, batch_size=1, border=None
    )
    assert (scores["psnr_y"] == np.inf).all()
    np.testing.assert_allclose(scores["ssim_y"], 1, atol=1e-12)


def test_averages_are_over_images_for_each_set_and_model(pairs: ImagePairs) -> None:
    models = {"bicubic": upscale, "nearest": nearest}
    test = score_pairs("test", pairs, models, batch_size=3, border=None)
    set5 = test[test["image"].isin(["0.png", "1.png"])].assign(set="set5")
    summary = summarise(pd.concat([test, set5]))

    assert list(summary) == ["test", "set5"]
    assert summary["test"]["images"] == COUNT
    assert summary["set5"]["images"] == 2
    assert list(summary["test"]["models"]) == ["bicubic", "nearest"]
    hr = np.stack([pairs.hr[index] for index in range(COUNT)])
    lr = np.stack([pairs.lr[index] for index in range(COUNT)])
    for model, enlarger in models.items():
        psnr, ssim = psnr_y(enlarger(lr, 4), hr, 4), ssim_y(enlarger(lr, 4), hr, 4)
        for set_name, count in (("test", COUNT), ("set5", 2)):
            figures = summary[set_name]["models"][model]
            assert figures["psnr_y"] == pytest.approx(np.mean(psnr[:count]), abs=1e-9)
            assert figures["ssim_y"] == pytest.approx(np.mean(ssim[:count]), abs=1e-9)
            assert type(figures["psnr_y"]) is float


def test_psnr_is_averaged_and_not_pooled() -> None:
    scores = pd.DataFrame(
        {
            "set": "test",
            "image": ["a", "b"],
            "model": "bicubic",
            "psnr_y": [20.0, 40.0],
            "ssim_y": [0.5, 0.9],
        }
    )
    figures = summarise(scores)["test"]["models"]["bicubic"]
    assert figures["psnr_y"] == pytest.approx(30.0)
    assert figures["ssim_y"] == pytest.approx(0.7)


def test_metrics_are_named_by_set_model_and_figure(pairs: ImagePairs) -> None:
    summary = summarise(score_pairs("test", pairs, {"bicubic": upscale}, batch_size=3, border=None))
    metrics = as_metrics(summary)
    for figure in ("psnr_y", "ssim_y"):
        logged = metrics[f"test.bicubic.{figure}"]
        assert logged["value"] == summary["test"]["models"]["bicubic"][figure]
        assert logged["step"] == 0
    assert all(name.startswith("test.bicubic.") for name in metrics)


def test_the_protocol_says_how_the_figures_were_made(pairs: ImagePairs) -> None:
    protocol = describe_protocol(pairs.lr, 4)
    assert protocol["border"] == 4
    assert protocol["scale"] == 4
    assert "bicubic" in protocol["degradation"]
    assert "BT.601" in protocol["channel"]


# -- the models ------------------------------------------------------------------------------------


def make_weights(scale: int, kind: str = "generator") -> Weights:
    torch.manual_seed(0)
    architecture = GeneratorArchitecture(blocks=1, channels=4, scale=scale)
    tensors = Generator(architecture).state_dict()
    return Weights(
        kind="generator" if kind == "generator" else "discriminator",
        architecture=architecture.model_dump(),
        tensors=tensors,
        provenance={},
    )


def test_bicubic_is_always_a_model(pairs: ImagePairs) -> None:
    models = enlargers(
        {"srresnet": make_weights(4), "srgan": make_weights(4)}, scale=4, device="cpu"
    )
    assert list(models) == ["bicubic", "srresnet", "srgan"]
    assert list(enlargers({}, scale=4, device="cpu")) == ["bicubic"]
    lr = np.array(pairs.lr[0])[None]
    np.testing.assert_array_equal(models["bicubic"](lr, 4), upscale(lr, 4))


def test_generators_give_images_that_can_be_scored(pairs: ImagePairs) -> None:
    models = enlargers({"srresnet": make_weights(4)}, scale=4, device="cpu")
    enlarged = models["srresnet"](np.array(pairs.lr[0])[None], 4)
    assert enlarged.dtype == np.uint8
    assert enlarged.shape == (1, 24, 32, 3)
    scores = score_pairs("test", pairs, models, batch_size=3, border=None)
    assert np.isfinite(scores["psnr_y"]).all()


def test_weights_of_another_network_are_told() -> None:
    with pytest.raises(UserError, match="discriminator"):
        enlargers({"srgan": make_weights(4, "discriminator")}, scale=4, device="cpu")


def test_a_device_that_is_not_there_is_told() -> None:
    with pytest.raises(UserError, match="'abacus'"):
        enlargers({}, scale=4, device="abacus")


def test_a_generator_of_another_scale_is_told() -> None:
    with pytest.raises(UserError, match="srresnet enlarges 4 times, the images are of scale 2"):
        enlargers({"srresnet": make_weights(4)}, scale=2, device="cpu")
