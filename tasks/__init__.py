"""Thin Prefect tasks round the pipeline's stages: what to cache, retry, limit and show; no logic of the method."""
