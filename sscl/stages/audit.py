"""Stage ``audit``: is this model trained on the release? The exact test over keys, with evidence."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from sscl.artifacts import write_json
from sscl.compute import Compute
from sscl.config import ComputeConfig
from sscl.data.store import Card
from sscl.evidence.audit import examine, prepare
from sscl.oracles import Context, open_oracle
from sscl.stages.names import BUNDLE, COMMITMENT, FINDING, MODEL, OPENING
from sscl.watermarks.io import GENERATOR, is_keyed

UNKEYED = "The method has no keys: there is nothing to compare the released mark with, and no exact test."


def run(
    compute: ComputeConfig, data: Path, watermark: Path, commitment: Path, opening: Path, model: Path, out: Path
) -> None:
    """Write the finding and the (unsigned) bundle of one scenario's model to ``out``."""
    resolved = Compute.resolve(compute)
    if not is_keyed(watermark / GENERATOR):
        out.mkdir(parents=True)
        write_json(out / FINDING, {"decision": "inconclusive", "reason": UNKEYED, "p_value": None})
        return
    case = prepare(watermark, data, resolved, opening / OPENING, commitment / COMMITMENT)
    oracle = open_oracle(str(model / MODEL), Context(Card.read(data).class_names, resolved))
    out.mkdir(parents=True)
    finding, audit = examine(case, oracle, out / BUNDLE)
    write_json(out / FINDING, {**asdict(finding), "confirmatory": audit["confirmatory"], "suspect": audit["suspect"]})
