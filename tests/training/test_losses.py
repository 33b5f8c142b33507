import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from deepdepixelate.training.losses import artifact_loss, feature_loss, grid_loss, negative_psnr

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


class TestFeatureLoss:
    def maps(self, *values: float) -> list[Tensor]:
        return [torch.full((2, 3, 8, 8), value) for value in values]

    def test_is_the_weighted_mean_of_relative_differences(self) -> None:
        hr = self.maps(1.0, 2.0, 4.0, 8.0, 16.0)
        sr = self.maps(1.5, 2.0, 4.0, 10.0, 16.0)
        expected = (0.1 * 0.5 / 1 + 2 / 8) / 5
        torch.testing.assert_close(feature_loss(sr, hr), torch.tensor(expected))

    def test_does_not_ask_how_large_the_features_of_a_map_are(self) -> None:
        random = torch.Generator().manual_seed(7)
        hr, sr = ([torch.rand(2, 3, 8, 8, generator=random) for _ in range(5)] for _ in range(2))
        larger_sr, larger_hr = ([tensor * 1000 for tensor in maps] for maps in (sr, hr))
        torch.testing.assert_close(feature_loss(larger_sr, larger_hr), feature_loss(sr, hr))

    def test_is_float32_of_bfloat16_features(self) -> None:
        hr = [each.bfloat16() for each in self.maps(1.0, 1.0, 1.0, 1.0, 1.0)]
        sr = [each.bfloat16() for each in self.maps(2.0, 2.0, 2.0, 2.0, 2.0)]
        torch.testing.assert_close(feature_loss(sr, hr), torch.tensor(3.2 / 5))


class TestArtifactLoss:
    @pytest.fixture
    def hr(self) -> Tensor:
        return torch.zeros(2, 3, 24, 32)

    def dotted(self, hr: Tensor) -> Tensor:
        """One dot, on the second image."""
        sr = hr.clone()
        sr[1, :, 10, 20] = 0.6
        return sr

    def test_is_what_the_paper_defines_for_values_from_0_to_1(self) -> None:
        random = torch.Generator().manual_seed(3)
        sr, average, hr = (torch.rand(2, 3, 24, 32, generator=random) * 2 - 1 for _ in range(3))
        expected = []
        for made, averaged, wanted in zip(
            *(x.double().numpy() / 2 for x in (sr, average, hr)), strict=True
        ):
            error, averaged_error = (np.abs(x - wanted).sum(0) for x in (made, averaged))
            local = (
                uniform_filter(error**2, 7, mode="mirror")
                - uniform_filter(error, 7, mode="mirror") ** 2
            )
            weights = error.var(ddof=1) ** 0.2 * local
            weights[error < averaged_error] = 0
            expected.append((weights * np.abs(made - wanted)).mean())
        loss = artifact_loss(sr, average, hr)
        torch.testing.assert_close(loss.item(), np.mean(expected), rtol=1e-5, atol=0)

    def test_does_not_see_an_even_error(self, hr: Tensor) -> None:
        assert artifact_loss(hr + 0.3, hr, hr).item() == pytest.approx(0, abs=1e-6)

    def test_does_not_see_what_the_averaged_generator_makes_worse(self, hr: Tensor) -> None:
        sr = self.dotted(hr)
        assert artifact_loss(sr, hr, hr) > 0
        assert artifact_loss(sr, sr * 1.1, hr) == 0

    def test_pulls_at_the_dot_alone(self, hr: Tensor) -> None:
        sr = self.dotted(hr).requires_grad_(True)
        (gradient,) = torch.autograd.grad(artifact_loss(sr, hr, hr), sr)
        assert gradient[1, :, 10, 20].min() > 0
        assert gradient.count_nonzero() == 3

    def test_its_gradient_is_finite_without_any_error(self, hr: Tensor) -> None:
        sr = hr.clone().requires_grad_(True)
        loss = artifact_loss(sr, hr, hr)
        (gradient,) = torch.autograd.grad(loss, sr)
        assert loss.item() == 0
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

    def test_is_nothing_without_error_and_its_gradient_is_finite(self) -> None:
        for hr in (torch.rand(2, 3, 96, 96) * 2 - 1, torch.zeros(2, 3, 32, 32)):
            sr = hr.clone().requires_grad_(True)
            loss = grid_loss(sr, hr, 4)
            (gradient,) = torch.autograd.grad(loss, sr)
            assert loss.item() == 0
            assert torch.isfinite(gradient).all()

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
