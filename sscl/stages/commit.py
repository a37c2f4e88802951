"""Stage ``commit``: draw the decoys; fix keys, targets, test and images before the release; publish only a hash."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from sscl.artifacts import write_atomically, write_json
from sscl.audit.decoys import draw_decoys, save_decoys
from sscl.audit.protocol import asked_images
from sscl.compute import Compute
from sscl.config import AuditConfig, ComputeConfig
from sscl.data.store import load_split
from sscl.evidence import timestamp
from sscl.evidence.commitment import Asked, Keys, open_up, seal
from sscl.stages.names import COMMITMENT, DECOYS, OPENING, TIMESTAMP_REQUEST
from sscl.types import ImageSet
from sscl.watermarks.base import KeyedWatermark, State
from sscl.watermarks.io import GENERATOR, load_watermark


def run(audit: AuditConfig, compute: ComputeConfig, data: Path, watermark: Path, public: Path, private: Path) -> None:
    """Write the commitment and an RFC 3161 request to ``public``, and what opens it to ``private``."""
    test_split = load_split(data, "test")
    mark, state = load_watermark(watermark / GENERATOR, test_split.classes, Compute.resolve(compute))
    public.mkdir(parents=True)
    private.mkdir(parents=True)
    seed = secrets.randbits(62)
    keys = Keys(watermark / GENERATOR, mark.target_class, None, [])
    asked: Asked | None = None
    if isinstance(mark, KeyedWatermark):
        decoys = draw_decoys(mark, state, audit.decoys, seed)
        save_decoys(private / DECOYS, decoys)
        keys = replace(keys, decoys=private / DECOYS, decoy_targets=[mark.target(decoy) for decoy in decoys])
        asked = partial(_asked, mark, [state, *decoys])
    opening = open_up(keys, seed, audit, test_split, asked)
    commitment = seal(opening)
    write_json(private / OPENING, opening)
    write_json(public / COMMITMENT, commitment)
    write_atomically(public / TIMESTAMP_REQUEST, timestamp.request(commitment))


def _asked(mark: KeyedWatermark[object], keys: list[State], images: ImageSet) -> Iterator[Tensor]:
    """What each key leads to, the released one first."""
    return (asked_images(mark, key, images) for key in keys)
