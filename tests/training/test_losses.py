from collections.abc import Callable

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from deepdepixelate.training.losses import (
    grid_loss,
    jag_loss,
    negative_psnr,
    pattern_loss,
    ripple_loss,
    spectrum_loss,
)

Loss = Callable[[Tensor, Tensor, int], Tensor]

LEVEL = 1 / 127.5
"""Of 8 bits, in [-1, 1]."""


class TestNegativePSNR:
    def test_is_the_mean_over_crops_of_what_scikit_image_measures(self) -> None:
        random = torch.Generator().manual_seed(5)
        hr = torch.rand(3, 3, 16, 16, generator=random) * 2 - 1
        amount = torch.tensor([0.02, 0.2, 0.5]).view(3, 1, 1, 1)
        sr = hr + amount * torch.randn(3, 3, 16, 16, generator=random)
        each = [
            peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=2)
            for a, b in zip(hr, sr, strict=True)
        ]
        assert negative_psnr(sr, hr).item() == pytest.approx(-sum(each) / 3, abs=1e-2)

    def test_pulls_a_crop_by_its_share_of_error_and_not_by_its_size(self) -> None:
        hr = torch.zeros(2, 3, 8, 8)
        sr = torch.stack([torch.full((3, 8, 8), 0.1), torch.full((3, 8, 8), 0.4)])
        sr.requires_grad_(True)
        (gradient,) = torch.autograd.grad(negative_psnr(sr, hr), sr)
        pulls = (gradient * sr.detach()).sum((1, 2, 3))
        assert pulls[0].item() == pytest.approx(pulls[1].item(), rel=1e-3)

    def test_is_finite_without_any_error(self) -> None:
        same = torch.zeros(1, 3, 8, 8, requires_grad=True)
        loss = negative_psnr(same, torch.zeros(1, 3, 8, 8))
        (gradient,) = torch.autograd.grad(loss, same)
        assert loss.item() == pytest.approx(-66, abs=0.1)
        assert torch.equal(gradient, torch.zeros_like(same))


@pytest.mark.parametrize("loss", [grid_loss, ripple_loss, pattern_loss, jag_loss, spectrum_loss])
class TestEachFurtherLoss:
    def test_is_nothing_without_error(self, loss: Loss) -> None:
        hr = torch.rand(2, 3, 96, 96) * 2 - 1
        assert loss(hr, hr, 4).item() == 0

    def test_is_finite_where_there_is_nothing(self, loss: Loss) -> None:
        nothing = torch.zeros(2, 3, 32, 32, requires_grad=True)
        value = loss(nothing, torch.zeros(2, 3, 32, 32), 4)
        (gradient,) = torch.autograd.grad(value, nothing)
        assert value.item() == 0
        assert torch.isfinite(gradient).all()


class TestGridLoss:
    @pytest.fixture
    def smooth(self) -> Tensor:
        return torch.full((2, 3, 96, 96), 0.25)

    @pytest.fixture
    def detailed(self, smooth: Tensor) -> Tensor:
        """Of a deviation of 0.1 within each LR pixel, of luma alone."""
        detailed = smooth.clone()
        detailed[..., ::2, :] += 0.2
        return detailed

    def grid(self, levels: float = 2.5) -> Tensor:
        """Gray, (2, 3, 96, 96), the same in each LR pixel: half of it brighter, half darker."""
        pattern = torch.tensor([1.0, -1.0]).repeat(48) * levels * LEVEL
        return pattern.expand(2, 3, 96, 96)

    def test_is_the_mean_square_of_what_repeats_with_each_lr_pixel(self, smooth: Tensor) -> None:
        loss = grid_loss(smooth + self.grid(5.0), smooth, 4)
        torch.testing.assert_close(loss, torch.tensor((5 / 2.5) ** 2 / 3))  # luma, of three

    def test_does_not_see_what_changes_from_one_lr_pixel_to_the_next(self, smooth: Tensor) -> None:
        row, column = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
        for frequency in (1 / 8, 3 / 8):
            wave = 0.1 * torch.cos(2 * torch.pi * frequency * (row + column))
            assert grid_loss(smooth + wave, smooth, 4) < 1e-9, frequency

    def test_sees_less_of_a_grid_where_the_original_has_detail(self, detailed: Tensor) -> None:
        loss = grid_loss(detailed + self.grid(), detailed, 4)
        expected = (2.5 * LEVEL) ** 2 / (0.1**2 + (2.5 * LEVEL) ** 2) / 3
        torch.testing.assert_close(loss, torch.tensor(expected), rtol=1e-4, atol=0)

    def test_gray_detail_does_not_hide_a_coloured_grid(
        self, smooth: Tensor, detailed: Tensor
    ) -> None:
        coloured = self.grid() * torch.tensor([0.114, 0.0, -0.299]).view(1, 3, 1, 1)  # same luma
        on_smooth, on_detail = (grid_loss(hr + coloured, hr, 4) for hr in (smooth, detailed))
        assert on_smooth > 1e-3
        torch.testing.assert_close(on_detail, on_smooth, rtol=1e-3, atol=0)

    def test_sees_a_shift_of_colour(self, smooth: Tensor) -> None:
        shift = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1) * 10 * LEVEL
        luma, blue, red = 0.114, (1 - 0.114) / 1.772, -0.114 / 1.402
        expected = (10 / 2.5) ** 2 * (luma**2 + blue**2 + red**2) / 3
        torch.testing.assert_close(grid_loss(smooth + shift, smooth, 4), torch.tensor(expected))

    def test_sees_grids_that_cancel_out_elsewhere(self, smooth: Tensor) -> None:
        grid = self.grid().clone()
        grid[..., 48:] *= -1
        torch.testing.assert_close(
            grid_loss(smooth + grid, smooth, 4), grid_loss(smooth + self.grid(), smooth, 4)
        )

    @pytest.mark.parametrize("side", [4, 16, 44])
    def test_takes_crops_of_any_size(self, smooth: Tensor, side: int) -> None:
        hr = smooth[..., :side, :side]
        loss = grid_loss(hr + self.grid()[..., :side, :side], hr, 4)
        torch.testing.assert_close(loss, torch.tensor(1 / 3))


class TestRippleLoss:
    @pytest.fixture
    def stripes(self) -> Tensor:
        """Gray, (1, 3, 16, 16), columns brighter and darker in turn by 2.5 levels."""
        return torch.tensor([1.0, -1.0]).repeat(8).expand(1, 3, 16, 16) * 2.5 * LEVEL

    def test_is_the_mean_square_in_units_of_what_is_hardly_visible(self, stripes: Tensor) -> None:
        hr = torch.full_like(stripes, 0.25)
        loss = ripple_loss(hr + 2 * stripes, hr, 4)
        torch.testing.assert_close(loss, torch.tensor(2.0**2 / 3))  # luma, of three

    def test_sees_ripples_that_turn_with_each_lr_pixel(self, stripes: Tensor) -> None:
        hr = torch.full_like(stripes, 0.25)
        turning = torch.tensor([1.0, -1.0]).repeat_interleave(4).repeat(2) * stripes
        assert grid_loss(hr + turning, hr, 4) < 1e-9
        torch.testing.assert_close(ripple_loss(hr + turning, hr, 4), torch.tensor(1 / 3))

    def test_leaves_the_mean_of_an_lr_pixel_to_other_losses(self, stripes: Tensor) -> None:
        hr = torch.full_like(stripes, 0.25)
        steps = torch.tensor([0.0, 0.1, 0.2, 0.3]).repeat_interleave(4).expand_as(hr)
        assert ripple_loss(hr + steps, hr, 4) < 1e-9

    def test_an_edge_hides_ripples_of_its_own_lr_pixels_alone(self, stripes: Tensor) -> None:
        hr = torch.zeros_like(stripes)
        hr[..., 6:] = 60 * LEVEL  # within the second column of LR pixels
        hidden = (2.5**2 / (30**2 + 2.5**2)) ** 2
        expected = (hidden + 3) / 4 / 3
        torch.testing.assert_close(ripple_loss(hr + stripes, hr, 4), torch.tensor(expected))

    def test_detail_of_ten_levels_keeps_nearly_all_its_freedom(self) -> None:
        random = torch.Generator().manual_seed(2)
        hr = torch.randn(2, 1, 48, 48, generator=random).expand(2, 3, 48, 48) * 10 * LEVEL
        smooth = torch.zeros_like(hr)
        other = hr.flip(0)
        assert ripple_loss(other, hr, 4) < ripple_loss(other, smooth, 4) / 50

    def test_takes_crops_that_are_not_square(self, stripes: Tensor) -> None:
        hr = torch.zeros(1, 3, 8, 12)
        torch.testing.assert_close(
            ripple_loss(hr + stripes[..., :8, :12], hr, 4), torch.tensor(1 / 3)
        )


class TestPatternLoss:
    @pytest.fixture
    def lr(self) -> Tensor:
        """Luma of random LR pixels, (4, 1, 24, 24)."""
        return torch.randn(4, 1, 24, 24, generator=torch.Generator().manual_seed(4)) / 4

    @pytest.fixture
    def pattern(self) -> Tensor:
        """Of the 4 x 4 places in an LR pixel, (24 x 4, 24 x 4): mean 0, mean square 2.5 levels'."""
        places = torch.randn(4, 4, generator=torch.Generator().manual_seed(6))
        places -= places.mean()
        return (places * places.square().mean().rsqrt() * 2.5 * LEVEL).repeat(24, 24)

    def enlarged(self, lr: Tensor) -> Tensor:
        return lr.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(-1, 3, -1, -1)

    def test_is_the_power_of_a_grid_over_that_of_detail(self, pattern: Tensor) -> None:
        hr = torch.full((2, 3, 96, 96), 0.25)
        torch.testing.assert_close(pattern_loss(hr + 2 * pattern, hr, 4), torch.tensor(4.0))
        hr[..., ::2, :] += 10 * LEVEL  # the same deviation of 5 levels in each LR pixel
        expected = 4 * 2.5**2 / (5**2 + 2.5**2)
        torch.testing.assert_close(pattern_loss(hr + 2 * pattern, hr, 4), torch.tensor(expected))

    @pytest.mark.parametrize("follows", ["right", "down", "bend", "twist", "steepness"])
    def test_sees_a_pattern_that_follows_what_lr_shows(
        self, lr: Tensor, pattern: Tensor, follows: str
    ) -> None:
        right, down = (lr.roll(-1, axis) - lr.roll(1, axis) for axis in (3, 2))
        strength = {
            "right": right,
            "down": down,
            "bend": lr.roll(-1, 3) - 2 * lr + lr.roll(1, 3),
            "twist": right.roll(-1, 2) - right.roll(1, 2),
            "steepness": torch.hypot(right, down),
        }[follows]
        strength = strength * strength.square().mean().rsqrt()
        hr = self.enlarged(lr)
        seen = pattern_loss(hr + pattern * self.enlarged(strength), hr, 4)
        random = torch.randn(lr.shape, generator=torch.Generator().manual_seed(8))
        unseen = pattern_loss(hr + pattern * self.enlarged(random), hr, 4)
        assert seen > 0.8  # 1, but for what is around the borders
        assert unseen < 0.02

    def test_sees_a_jagged_edge_that_the_grid_loss_forgives(self, pattern: Tensor) -> None:
        line = torch.arange(96.0)
        hr = torch.tanh((line[:, None] - line[None] + 3) / 4).expand(1, 3, 96, 96) * 0.8
        jagged = hr + 4 * pattern * (1 - (hr / 0.8).square())
        assert grid_loss(jagged, hr, 4) < 0.05
        assert pattern_loss(jagged, hr, 4) > 0.1

    def test_other_detail_than_the_original_has_its_freedom(self, lr: Tensor) -> None:
        random = torch.Generator().manual_seed(9)
        detail = torch.randn(4, 1, 96, 96, generator=random) * 10 * LEVEL
        hr = self.enlarged(lr) + detail
        assert pattern_loss(self.enlarged(lr) + detail.flip(0), hr, 4) < 0.02

    def test_sees_a_coloured_pattern(self, pattern: Tensor) -> None:
        hr = torch.full((2, 3, 96, 96), 0.25)
        same_luma = torch.tensor([0.114, 0.0, -0.299]).view(1, 3, 1, 1)
        blue, red = -0.299 / 1.772, 0.114 / 1.402
        expected = torch.tensor(blue**2 + red**2)
        torch.testing.assert_close(pattern_loss(hr + pattern * same_luma, hr, 4), expected)

    @pytest.mark.parametrize("shape", [(4, 4), (8, 12), (46, 16)])
    def test_takes_crops_of_any_shape(self, pattern: Tensor, shape: tuple[int, int]) -> None:
        height, width = shape
        hr = torch.full((1, 3, height, width), 0.25)
        loss = pattern_loss(hr + pattern[:height, :width], hr, 4)
        torch.testing.assert_close(loss, torch.tensor(1.0))


class TestJagLoss:
    def waves(self, levels: float, pixels: int) -> Tensor:
        """Of luma, down and to the right; with a period of 4 pixels, each pixel is a step."""
        wave = torch.cos(2 * torch.pi / pixels * torch.arange(32.0)) * levels * LEVEL
        return (wave[:, None] + wave).expand(1, 3, 32, 32)

    def edge(self, softness: float = 2.0, displaced: float | Tensor = 0.0) -> Tensor:
        """Diagonal, not of 45 degrees."""
        line = torch.arange(32.0)
        return 0.8 * torch.tanh((line[:, None] - line / 2 - 8 + displaced) / softness).expand(
            1, 3, 32, 32
        )

    def dotted(self, period: int) -> Tensor:
        """An edge with dots on it, with as many pixels to a period."""
        line, edge = torch.arange(32.0), self.edge()
        waves = torch.cos(2 * torch.pi / period * line)
        dots = waves[:, None] * waves
        return edge + 0.3 * dots * (1 - (edge / 0.8).square())

    def test_is_the_excess_of_slope_as_a_share_of_the_originals(self) -> None:
        nothing = torch.zeros(1, 3, 32, 32)
        for levels in (0.0, 5.0):
            hr = nothing + self.waves(levels, 4)
            sr = nothing + self.waves(10.0, 4)
            expected = ((10**2 + 2.5**2) / (levels**2 + 2.5**2)) ** 0.5 - 1
            torch.testing.assert_close(
                jag_loss(sr, hr, 4), torch.tensor(expected**2), rtol=1e-3, atol=0
            )

    def test_a_change_in_one_direction_is_no_jag(self) -> None:
        line = torch.arange(32.0)
        wave = torch.cos(0.7 * line[:, None] + 1.1 * line).expand(1, 3, 32, 32)
        assert jag_loss(0.3 * wave, torch.zeros(1, 3, 32, 32), 4) < 0.05
        assert jag_loss(self.edge(), torch.zeros(1, 3, 32, 32), 4) < 0.05
        assert jag_loss(self.waves(38.0, 9), torch.zeros(1, 3, 32, 32), 4) > 1

    def test_an_edge_may_be_softer_or_sharper_or_displaced_but_not_jagged(self) -> None:
        hr = self.edge()
        steps = torch.tensor([-0.5, 0.5]).repeat_interleave(4).repeat(4)
        jagged = jag_loss(self.edge(displaced=steps), hr, 4)
        for straight in (
            self.edge(softness=1.5),
            self.edge(softness=2.5),
            self.edge(displaced=0.5),
            self.edge(displaced=-0.5),
        ):
            assert jag_loss(straight, hr, 4) < jagged / 20

    @pytest.mark.parametrize("period", [2, 3, 4])
    def test_sees_dots_of_any_size_along_an_edge(self, period: int) -> None:
        dotted = self.dotted(period)
        assert jag_loss(dotted, self.edge(), 4) > 0.1
        assert jag_loss(dotted, self.edge(), 4) > 5 * ripple_loss(dotted, self.edge(), 4)

    def test_detail_has_its_freedom_where_the_original_has_as_much(self) -> None:
        random = torch.Generator().manual_seed(3)
        one, other = torch.randn(2, 1, 1, 96, 96, generator=random) * 20 * LEVEL
        nothing = torch.zeros(1, 3, 96, 96)
        assert jag_loss(nothing + one / 2, nothing + other, 4) < 0.001
        assert jag_loss(nothing + one, nothing + other, 4) < (
            jag_loss(nothing + one, nothing, 4) / 100
        )

    def test_takes_crops_that_are_not_square(self) -> None:
        hr = torch.zeros(1, 3, 12, 16)
        loss = jag_loss(hr + self.waves(10.0, 4)[..., :12, :16], hr, 4)
        expected = ((10**2 + 2.5**2) / 2.5**2) ** 0.5 - 1
        torch.testing.assert_close(loss, torch.tensor(expected**2), rtol=1e-3, atol=0)


class TestSpectrumLoss:
    @pytest.fixture
    def hr(self) -> Tensor:
        return torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(3)) / 4

    @pytest.mark.parametrize("factor", [0.5, 0.9, 2.0])
    def test_is_the_squared_difference_of_amplitudes(self, hr: Tensor, factor: float) -> None:
        expected = (1 - factor) ** 2
        assert spectrum_loss(hr * factor, hr, 4).item() == pytest.approx(expected, rel=1e-2)

    def test_is_the_squared_error_where_only_strengths_of_frequencies_differ(self) -> None:
        lines = torch.arange(96.0)
        weak, strong = (
            torch.cos(2 * torch.pi * cycles / 96 * lines).expand(1, 3, 96, 96)
            for cycles in (20, 40)
        )
        loss = spectrum_loss(0.5 * weak + 1.5 * strong, weak + 2 * strong, 4)
        assert loss.item() == pytest.approx((0.5**2 + 0.5**2) / (1 + 2**2), rel=1e-2)

    def test_asks_for_the_direction_of_detail_but_not_of_which_diagonal(self) -> None:
        line = torch.arange(96.0)
        row, column = torch.meshgrid(line, line, indexing="ij")

        def wave(down: int, right: int) -> Tensor:
            phase = 2 * torch.pi / 96 * (down * row + right * column)
            return torch.cos(phase).expand(1, 3, 96, 96)

        hr = wave(18, 24)
        assert spectrum_loss(wave(0, 30), hr, 4).item() == pytest.approx(2, rel=1e-2)  # same radius
        assert spectrum_loss(wave(-18, 24), hr, 4).item() == pytest.approx(0, abs=1e-4)

    def test_does_not_ask_which_crop_has_the_detail(self, hr: Tensor) -> None:
        hr = hr * torch.tensor([0.0, 0.5, 1.0, 2.0]).view(4, 1, 1, 1)
        assert spectrum_loss(hr.flip(0), hr, 4).item() == pytest.approx(0, abs=1e-9)

    @pytest.mark.parametrize(("cycles", "seen"), [(4, False), (10, False), (15, True), (40, True)])
    def test_sees_what_lr_cannot_hold_and_nothing_else(
        self, hr: Tensor, cycles: int, seen: bool
    ) -> None:
        wave = torch.cos(2 * torch.pi * cycles / 96 * torch.arange(96.0)).expand(4, 3, 96, 96)
        assert (spectrum_loss(hr + wave, hr, 4).item() > 0.1) is seen

    def test_follows_the_scale(self, hr: Tensor) -> None:
        wave = torch.cos(2 * torch.pi * 18 / 96 * torch.arange(96.0)).expand(4, 3, 96, 96)
        assert spectrum_loss(hr + wave, hr, 2).item() == pytest.approx(0, abs=1e-6)
        assert spectrum_loss(hr + wave, hr, 4).item() > 0.1

    def test_sees_dots_at_their_frequency(self, hr: Tensor) -> None:
        dots = torch.zeros(4, 3, 96, 96)
        dots[..., ::4, ::4] = 1.0
        assert spectrum_loss(hr + dots, hr, 4).item() > 0.1

    def test_pulls_what_is_too_soft_towards_more_of_its_own(self, hr: Tensor) -> None:
        soft = (hr / 2).requires_grad_(True)
        (gradient,) = torch.autograd.grad(spectrum_loss(soft, hr, 4), soft)
        assert (gradient * soft.detach()).sum().item() == pytest.approx(-0.5, rel=1e-2)
