"""Metrics of super-resolved images. Training and evaluation both use them."""
