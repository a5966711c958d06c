"""Pixels, sizes, batches and grids of images."""
