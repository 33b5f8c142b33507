"""The networks of SRGAN (Ledig et al., arXiv 1609.04802). Imports neither Kedro nor MLflow."""

TILE = 256
"""Default side of a tile in LR pixels, without its margin; here, to be importable without torch."""
