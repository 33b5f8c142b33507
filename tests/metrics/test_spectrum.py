import numpy as np
import pytest
from numpy.typing import NDArray

from deepdepixelate import downscale, upscale
from deepdepixelate.metrics.psnr_ssim import luma
from deepdepixelate.metrics.spectrum import BINS, Spectrum, ring_frequencies, spectrum

GRAY_TO_LUMA = 219 / 255
SIZES = [(24, 31), (25, 32), (33, 20), (40, 40), (19, 19)]


def gray(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Rounded levels (H, W) as RGB."""
    return np.repeat(np.rint(values).astype(np.uint8)[:, :, None], 3, axis=2)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    levels = np.random.default_rng(seed).integers(0, 256, (height, width))
    return gray(levels.astype(np.float64))


def colours(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def cosine(height: int, width: int, down: float, across: float) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return gray(128 + 100 * np.cos(2 * np.pi * (down * y + across * x)))


def by_definition(image: NDArray[np.uint8], border: int, scale: int) -> Spectrum:
    """Without the halved transform and its weights: every coefficient, one by one."""
    height, width = (side - 2 * border for side in image.shape[:2])
    values = luma(image)[border : border + height, border : border + width]
    window = np.outer(
        *(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / side) for side in (height, width))
    )
    power = np.abs(np.fft.fft2((values - values.mean()) * window)) ** 2 / np.sum(window**2)
    frequency = np.sqrt(np.fft.fftfreq(height)[:, None] ** 2 + np.fft.fftfreq(width) ** 2)
    rings = np.full(BINS, np.nan)
    for ring in range(BINS):
        inside = (frequency >= ring / (2 * BINS)) & (frequency < (ring + 1) / (2 * BINS))
        if inside.any():
            rings[ring] = power[inside].mean()
    return Spectrum(rings, float(power[frequency > 1 / (2 * scale)].sum() / power.size))


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("border", [0, 4])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_agrees_with_the_definition(height: int, width: int, border: int, scale: int) -> None:
    image = colours(height, width)
    found, expected = spectrum(image, border, scale), by_definition(image, border, scale)
    np.testing.assert_allclose(found.rings, expected.rings, rtol=1e-9)
    assert found.high_frequency_energy == pytest.approx(expected.high_frequency_energy, rel=1e-9)


def test_the_rings_are_equal_parts_of_the_frequencies() -> None:
    frequencies = ring_frequencies()
    assert frequencies.shape == (BINS,)
    np.testing.assert_allclose(frequencies, (np.arange(BINS) + 0.5) / (2 * BINS), atol=1e-15)


@pytest.mark.parametrize(("height", "width"), [(128, 128), (127, 101), (96, 131)])
def test_white_noise_has_its_variance_as_power_at_every_frequency(height: int, width: int) -> None:
    variance = (256**2 - 1) / 12 * GRAY_TO_LUMA**2  # of 256 equally likely levels
    found = [spectrum(noise(height, width, seed), 0, 4) for seed in range(60)]
    rings = np.mean([each.rings for each in found], axis=0)
    # Removing the mean takes from the rings around zero.
    np.testing.assert_allclose(rings[3:], variance, rtol=0.3)
    np.testing.assert_allclose(rings[16:], variance, rtol=0.1)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    energy = np.mean([each.high_frequency_energy for each in found])
    assert energy == pytest.approx(variance * np.mean(frequency > 1 / 8), rel=0.01)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (255, 201), (180, 240)])
@pytest.mark.parametrize("ring", [8, 20, 40, 60])
@pytest.mark.parametrize("angle", [0.0, 0.5, np.pi / 2, 2.0])
def test_a_wave_lies_in_its_ring(height: int, width: int, ring: int, angle: float) -> None:
    frequency = ring_frequencies()[ring]
    image = cosine(height, width, frequency * np.sin(angle), frequency * np.cos(angle))
    rings = spectrum(image, 0, 4).rings
    assert np.nanargmax(rings) == ring
    far = np.abs(np.arange(BINS) - ring) > 4
    far[0] = False  # the mean that is removed is the image's, not that under the window
    assert np.nanmax(rings[far]) < 1e-3 * rings[ring]


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_only_what_lr_cannot_hold_is_high(scale: int) -> None:
    nyquist = 1 / (2 * scale)
    variance = (100 * GRAY_TO_LUMA) ** 2 / 2
    below = spectrum(cosine(240, 256, 0.0, 0.8 * nyquist), 0, scale).high_frequency_energy
    above = spectrum(cosine(240, 256, 0.0, 1.2 * nyquist), 0, scale).high_frequency_energy
    assert below < 1e-4 * variance
    assert above == pytest.approx(variance, rel=0.01)


def test_waves_beyond_the_last_ring_count_as_high() -> None:
    diagonal = spectrum(cosine(128, 128, 0.45, 0.45), 0, 4)
    assert diagonal.high_frequency_energy == pytest.approx((100 * GRAY_TO_LUMA) ** 2 / 2, rel=0.01)
    assert np.nanmax(diagonal.rings) < 10


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_turned_or_mirrored_image_has_the_same_spectrum(height: int, width: int) -> None:
    image = colours(height, width)
    upright = spectrum(image, 0, 4)
    turned = spectrum(np.ascontiguousarray(image.transpose(1, 0, 2)), 0, 4)
    np.testing.assert_allclose(turned.rings, upright.rings, rtol=1e-9)
    assert turned.high_frequency_energy == pytest.approx(upright.high_frequency_energy, rel=1e-9)


def test_twice_the_contrast_is_four_times_the_power() -> None:
    difference = np.random.default_rng(0).integers(-60, 61, (40, 51)).astype(np.float64)
    once, twice = (spectrum(gray(128 + factor * difference), 4, 4) for factor in (1, 2))
    np.testing.assert_allclose(twice.rings, 4 * once.rings, rtol=1e-9)
    assert twice.high_frequency_energy == pytest.approx(4 * once.high_frequency_energy, rel=1e-9)


def test_brightness_does_not_matter() -> None:
    difference = np.random.default_rng(0).integers(-40, 41, (40, 51)).astype(np.float64)
    dark, bright = (spectrum(gray(level + difference), 0, 4) for level in (60, 200))
    np.testing.assert_allclose(bright.rings, dark.rings, rtol=1e-9)
    assert bright.high_frequency_energy == pytest.approx(dark.high_frequency_energy, rel=1e-9)


def test_a_flat_image_has_no_power() -> None:
    flat = spectrum(np.full((32, 32, 3), 77, np.uint8), 4, 4)
    assert flat.high_frequency_energy < 1e-20
    assert np.nanmax(flat.rings) < 1e-20


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_bicubic_enlargement_has_lost_nearly_all_of_it(scale: int) -> None:
    hr = colours(96, 128)
    enlarged = upscale(downscale(hr[None], scale), scale)[0]
    lost = spectrum(enlarged, scale, scale).high_frequency_energy
    assert 0 < lost < 0.1 * spectrum(hr, scale, scale).high_frequency_energy


def test_what_lies_in_the_border_does_not_count() -> None:
    image = colours(40, 48)
    changed = image.copy()
    changed[:4], changed[-4:], changed[:, :4], changed[:, -4:] = 0, 255, 0, 255
    before, after = spectrum(image, 4, 4), spectrum(changed, 4, 4)
    np.testing.assert_array_equal(after.rings, before.rings)
    assert after.high_frequency_energy == before.high_frequency_energy
    assert not np.array_equal(spectrum(changed, 3, 4).rings, spectrum(image, 3, 4).rings)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("height", "width"), [(11, 11), (11, 30), (13, 12), (3, 3), (1, 1)])
def test_frequencies_that_a_small_image_lacks_are_missing(height: int, width: int) -> None:
    found = spectrum(colours(height, width), 0, 4)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)) * (2 * BINS)
    there = np.isin(np.arange(BINS), frequency.astype(int))
    np.testing.assert_array_equal(np.isfinite(found.rings), there)
    assert not there.all()
    assert np.isfinite(found.high_frequency_energy)
