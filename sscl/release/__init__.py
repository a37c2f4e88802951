"""Releases: a watermarked dataset as versioned, checked objects in S3, the owner's part sealed."""
