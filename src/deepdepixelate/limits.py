"""Limits that the parameters and the library share. Imports no torch: commands start quickly."""

from typing import Literal

Scale = Literal[2, 4, 8]
"""How many times the generators enlarge."""

DISCRIMINATOR_STRIDE = 16
"""The discriminators' strided convolutions shrink a crop by this factor."""

ST_LPIPS_SIDE = 18
"""The smallest crop that the VGG16 of shift-tolerant LPIPS takes, in pixels: its blurs reflect."""

SSIM_WINDOW = 11
"""Side of the Gaussian window of SSIM, in pixels."""

INPUT_PIXELS = 50_000_000
"""Images with more pixels are rejected before they are decoded."""

ENCODED_BYTES = 64 * 2**20
"""Larger image files are rejected before they are read."""

LIST_BYTES = 64 * 2**20
"""Larger lists, and larger directories of zip archives, are refused. CelebA's take 5 and 20 MB."""

SOURCE_IMAGES = 2_000_000
"""A source of faces may have at most this many files or rows."""
