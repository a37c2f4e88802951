"""Datasets: where images come from, how they lie on disk, and how batches are augmented."""
