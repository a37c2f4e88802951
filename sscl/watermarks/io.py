"""A watermark's secret on disk: one safetensors file with method, options and target class in its metadata."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from sscl.artifacts import load_tensors, save_tensors
from sscl.compute import Compute
from sscl.errors import InputError
from sscl.parsing import parse
from sscl.watermarks.base import WATERMARKS, AnyWatermark, SingleTarget, State, create, name_of

GENERATOR = "generator.safetensors"


def save_watermark(path: Path, watermark: AnyWatermark, state: State) -> None:
    """Write the secret."""
    method = {"method": name_of(watermark), "options": asdict(watermark.options)}
    target = watermark.target_class if isinstance(watermark, SingleTarget) else 0
    save_tensors(path, state.tensors, {**method, "target_class": target, "notes": state.notes})


def load_watermark(path: Path, classes: int, compute: Compute) -> tuple[AnyWatermark, State]:
    """The method and its secret.

    Raises:
        InputError: not such a file, or NaN weights.
        ConfigError: its target class does not exist among ``classes``.
    """
    tensors, metadata = load_tensors(path)
    missing = {"method", "options", "target_class"} - set(metadata)
    if missing:
        raise InputError(
            f"{path}: not a watermark of sscl (no {', '.join(sorted(missing))}); run `sscl stage generator` again"
        )
    options: object = parse(WATERMARKS[metadata["method"]].Options, metadata["options"], str(path))
    return create(metadata["method"], options, metadata["target_class"], classes=classes, compute=compute), State(
        tensors, notes=metadata.get("notes", {})
    )
