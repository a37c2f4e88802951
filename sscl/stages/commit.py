"""Stage ``commit``: fix key, target, test and images before the release; publish only a hash."""

from __future__ import annotations

from pathlib import Path

from sscl.artifacts import write_atomically, write_json
from sscl.compute import Compute
from sscl.config import AuditConfig, ComputeConfig
from sscl.data.store import load_split
from sscl.evidence import timestamp
from sscl.evidence.commitment import open_up, seal
from sscl.stages.names import COMMITMENT, OPENING, TIMESTAMP_REQUEST
from sscl.watermarks.io import GENERATOR, load_watermark


def run(audit: AuditConfig, compute: ComputeConfig, data: Path, watermark: Path, public: Path, private: Path) -> None:
    """Write the commitment and an RFC 3161 request to ``public``, and what opens it to ``private``."""
    test_split = load_split(data, "test")
    mark, state = load_watermark(watermark / GENERATOR, test_split.classes, Compute.resolve(compute))
    targets = state.notes.get("targets", [mark.target_class])
    opening = open_up(watermark / GENERATOR, mark.target_class, targets, audit, test_split)
    commitment = seal(opening)
    public.mkdir(parents=True)
    private.mkdir(parents=True)
    write_json(private / OPENING, opening)
    write_json(public / COMMITMENT, commitment)
    write_atomically(public / TIMESTAMP_REQUEST, timestamp.request(commitment))
