"""DeepDepixelate: from the CelebA archive to a trained and scored 4x super-resolution GAN."""

__version__ = "0.1.0"
