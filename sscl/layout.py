"""Where things are: folders under an output root, and the names of the files in them.

``sscl.stages.table`` says which stage writes and reads which folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

# Folders and files under an output root.
CLEAN = "clean"
RELEASED = "public/release"
COMMITTED = "public/commitment"
PACKED = "public/package"
SURROGATE = "private/surrogate"
MARKS = "private/generator/release"
REHEARSAL = "private/rehearsal"
OPENED = "private/commitment"
WATERMARK = "private/watermark/release"
IMPRINTED = "private/encoder"
LICENSED = "licensed/encoder"
AUDITS = "private/audits"
METRICS = "metrics.json"
REPORT = "report"
ENCODER_METRICS = "encoder_metrics.json"
ENCODER_REPORT = "encoder_report"
GATE = "private/gate"
RECIPIENTS = "recipients"  # copies for licensees, one output root each
LARGE = "large"  # one output root a plan of shards
STATE = ".sscl"  # manifests, locks and checkpoints; never part of an output
CODE = "code"

# Files that one stage writes into its folder and another reads.
MODEL = "model.safetensors"
HISTORY = "history.json"
INDICES = "indices.safetensors"
SECRET_FILE = "secret.json"
RESULTS = "verification.json"
RESPONSES = "responses.parquet"
EXAMPLES = "examples.safetensors"
PAGE = "report.html"
GRID = "images.png"
COMMITMENT = "commitment.json"
OPENING = "opening.json"
DRAW = "draw.json"
SENT = "queries.safetensors"
TIMESTAMP_REQUEST = "commitment.tsq"
TIMESTAMP_REPLY = "commitment.tsr"
BUNDLE = "bundle.zip"
FINDING = "finding.json"


@final
class Under:
    """A path under an output root."""

    def __init__(self, *parts: str) -> None:
        self.name = "/".join(parts)

    def __get__(self, root: Root, _: type[Root]) -> Path:
        return root.path / self.name


@dataclass(frozen=True)
class Root:
    """An output root: a finished or unfinished run of a pipeline, in which every folder has its place.

    Attributes:
        path: the folder, ``out`` unless it was named otherwise.
    """

    path: Path
    clean = Under(CLEAN)
    released = Under(RELEASED)
    committed = Under(COMMITTED)
    commitment = Under(COMMITTED, COMMITMENT)
    stamp = Under("public", TIMESTAMP_REPLY)  # of an authority; beside the stage's folder, which holds what it wrote
    packed = Under(PACKED)
    marks = Under(MARKS)
    rehearsal = Under(REHEARSAL)
    opened = Under(OPENED)
    opening = Under(OPENED, OPENING)
    sent = Under(OPENED, SENT)
    watermark = Under(WATERMARK)
    draw = Under(WATERMARK, DRAW)
    imprinted = Under(IMPRINTED)
    audits = Under(AUDITS)
    gate = Under(GATE)
    metrics = Under(METRICS)
    page = Under(REPORT, PAGE)
    encoder_metrics = Under(ENCODER_METRICS)
    encoder_page = Under(ENCODER_REPORT, PAGE)
    state = Under(STATE)
    recipients = Under(RECIPIENTS)
    large = Under(LARGE)

    def recipient(self, name: str) -> Root:
        """The output root of a licensee's copy."""
        return Root(self.recipients / name)
