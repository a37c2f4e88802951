"""Classifiers on disk: safetensors with the architecture in the metadata; nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sscl.artifacts import load_tensors, load_weights, read_header, save_tensors
from sscl.compute import Compute
from sscl.errors import InputError
from sscl.functions import names_function
from sscl.models.base import CLASSIFIERS, Classifier, Pretrained, build

BACKBONE = "backbone."  # what names of a classifier's weights begin with
LARGEST_SIDE, MOST_CLASSES = 2048, 100_000  # a stranger's file must not make this process allocate without end


def save_classifier(path: Path, model: Classifier, **metadata: Any) -> None:
    """Write weights, architecture and ``metadata`` (JSON values) to a safetensors file."""
    shape = {"model": model.name, "channels": model.channels, "size": model.size, "classes": model.classes}
    save_tensors(path, model.state_dict(), {**shape, **metadata})


def load_classifier(path: Path, classes: int | None = None) -> tuple[Classifier, dict[str, Any]]:
    """The model in evaluation mode, and the file's metadata.

    Args:
        path: a file of ``save_classifier``.
        classes: the number of classes that is expected; ``None`` to take any.

    Raises:
        InputError: not such a file, NaN weights, or another number of classes.
    """
    shapes, metadata = read_header(path)
    model = _fitting(path, shapes, metadata, classes)
    tensors, _ = load_tensors(path)
    kinds = {key: tensor.dtype for key, tensor in model.state_dict().items()}
    model.load_state_dict({key: tensor.to(kinds[key]) for key, tensor in tensors.items()}, assign=True)
    return model.eval(), metadata


def load_frozen(path: Path, compute: Compute) -> Classifier:
    """The model where it is to answer, its weights fixed.

    Raises:
        InputError: as ``load_classifier``.
    """
    return compute.place(load_classifier(path)[0]).requires_grad_(False)


def load_pretrained(path: Path) -> Pretrained:
    """Weights to start a training from: a file of ``save_classifier``, or a network's own ``state_dict``.

    A file of the second kind says nothing about normalisation: its network takes pixels in [0, 1].

    Raises:
        InputError: not a safetensors file, or NaN weights.
    """
    found = load_weights(path)
    weights = {name.removeprefix(BACKBONE): weight for name, weight in found.items() if name.startswith(BACKBONE)}
    if found.keys() - {BACKBONE + name for name in weights} != {"mean", "std"}:
        return Pretrained(found, 0.0, 1.0)
    return Pretrained(weights, found["mean"], found["std"])


def _fitting(path: Path, found: dict[str, list[int]], metadata: dict[str, Any], classes: int | None) -> Classifier:
    """The network that a file's header claims, without memory for its weights; refused if the file has others."""
    missing = {"model", "channels", "size", "classes"} - set(metadata)
    if missing or not isinstance(metadata["model"], str) or metadata["model"] not in CLASSIFIERS:
        raise InputError(f"{path}: not a classifier of sscl; expected one of {', '.join(CLASSIFIERS)}")
    if classes is not None and metadata["classes"] != classes:
        raise InputError(
            f"{path}: a model of {metadata['classes']} classes, but the dataset has {classes}; train it on this dataset"
        )
    sizes = (metadata["channels"], metadata["size"], metadata["classes"])
    if not all(type(size) is int for size in sizes) or sizes[0] not in (1, 3) or not 1 <= sizes[1] <= LARGEST_SIDE:
        raise InputError(f"{path}: channels, size or classes are those of no classifier; expected one that sscl wrote")
    if not 1 <= sizes[2] <= MOST_CLASSES:
        raise InputError(f"{path}: {sizes[2]} classes; at most {MOST_CLASSES:,} are read")
    if names_function(metadata["model"]):  # known, so the configuration names it
        model = build(metadata["model"], *sizes[:2], classes=sizes[2])
    else:
        with torch.device("meta"):
            model = Classifier(metadata["model"], *sizes)
    expected = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    if wrong := expected.keys() ^ found.keys() or {key for key in expected if expected[key] != found[key]}:
        raise InputError(f"{path}: weights do not fit a {metadata['model']} of these sizes ({min(wrong)})")
    return model
