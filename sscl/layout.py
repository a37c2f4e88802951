"""Where things are: folders under an output root, and the names of the files in them.

``sscl.stages.table`` says which stage writes and reads which folder.
"""

from __future__ import annotations

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
BUNDLE = "bundle.zip"
FINDING = "finding.json"
