"""Scores of enlargements against the originals, their statistics, pictures and report."""
