"""What runs a model file inside the sandbox: one file each, found by name."""

from sscl.sandbox.runtimes.base import RUNTIMES, Loaded, Runtime

__all__ = ["RUNTIMES", "Loaded", "Runtime"]
