"""SSCL-BW: sample-specific clean-label backdoor watermarking for dataset ownership verification."""

__version__ = "0.1.0"
