"""Names of the files inside the stages' outputs: what one stage writes and another reads."""

from __future__ import annotations

MODEL = "model.safetensors"
HISTORY = "history.json"
INDICES = "indices.safetensors"
SECRET = "secret.json"
RESULTS = "verification.json"
RESPONSES = "responses.parquet"
EXAMPLES = "examples.safetensors"
PAGE = "report.html"
GRID = "images.png"
COMMITMENT = "commitment.json"
OPENING = "opening.json"
DRAW = "draw.json"
TIMESTAMP_REQUEST = "commitment.tsq"
BUNDLE = "bundle.zip"
FINDING = "finding.json"
