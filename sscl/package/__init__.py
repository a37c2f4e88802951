"""A watermarked dataset as the files that strangers get: shards, card, metadata, checksums."""
