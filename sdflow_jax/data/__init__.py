"""Faces for training: image sources, the data set built from them, and shuffled batches."""
