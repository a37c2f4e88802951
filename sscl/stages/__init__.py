"""The pipeline's stages: one plain function each, (sections of the config, input paths, output paths) -> files."""
