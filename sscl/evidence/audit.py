"""An audit from the suspect's address to a bundle of evidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sscl.artifacts import read_json
from sscl.audit.decoys import load_decoys
from sscl.audit.protocol import Record, ask, key_effect, verification_images
from sscl.audit.verdict import Finding, decide
from sscl.compute import Compute
from sscl.config import AuditConfig
from sscl.data.store import load_split
from sscl.errors import InputError
from sscl.evidence import bundle
from sscl.evidence.canonical import canonical
from sscl.evidence.check import AUDIT, QUERIES, RAW, pack_record
from sscl.evidence.commitment import check_secret, differences
from sscl.oracles import Oracle, nhwc
from sscl.oracles.http import BudgetError
from sscl.parsing import parse
from sscl.provenance import versions
from sscl.stages.names import COMMITMENT, DECOYS, FINDING, OPENING
from sscl.types import ImageSet
from sscl.watermarks.base import KeyedWatermark, State
from sscl.watermarks.io import GENERATOR, load_watermark


@dataclass(frozen=True)
class Case:
    """What the owner brings to an audit.

    Attributes:
        watermark, state: the secret.
        decoys: what the released key is compared with.
        opening: what was committed to, or what stands in for it in an exploratory audit.
        commitment: as published; ``None`` for an exploratory audit.
        images: the verification images.
        config: the protocol.
    """

    watermark: KeyedWatermark[Any]
    state: State
    decoys: list[State]
    opening: dict[str, Any]
    commitment: dict[str, Any] | None
    images: ImageSet
    config: AuditConfig


def prepare(secret: Path, data: Path, compute: Compute, opening: Path, commitment: Path | None) -> Case:
    """Load the secret and hold it against the commitment.

    Args:
        secret: private folder of the release.
        data: the clean dataset, whose test split has the verification images.
        compute: device and precision.
        opening: ``opening.json`` of ``sscl commit``, with the decoys beside it; its protocol is the one that counts.
        commitment: the published ``commitment.json``; ``None`` for an exploratory audit.

    Raises:
        InputError: a method without keys, or files that are not the committed ones.
    """
    test_split = load_split(data, "test")
    watermark, state = load_watermark(secret / GENERATOR, test_split.classes, compute)
    if not isinstance(watermark, KeyedWatermark):
        raise InputError(
            f"{secret / GENERATOR}: this method has no keys, so innocence cannot be tested exactly; "
            "release with a keyed one (generator.method: sscl_keyed)"
        )
    opened = read_json(opening)
    config = parse(AuditConfig, opened.get("protocol", {}), f"{opening}: protocol")
    images = verification_images(test_split, config.images, opened["image_seed"])
    check_secret(opened, secret / GENERATOR, opening.with_name(DECOYS), images)
    decoys = load_decoys(opening.with_name(DECOYS), state)
    published = read_json(commitment) if commitment else None
    if published is not None and (wrong := differences(published, opened)):
        raise InputError(f"{commitment}: {wrong[0]}; without the matching commitment no result is confirmatory")
    return Case(watermark, state, decoys, opened, published, images, config)


def examine(
    case: Case,
    oracle: Oracle,
    target: Path | None = None,
    key: Ed25519PrivateKey | None = None,
    references: list[Oracle] | None = None,
) -> tuple[Finding, dict[str, Any]]:
    """Audit one suspect and write the bundle to ``target``; the finding, and what else the evidence says of the audit.

    A suspect that stops answering leaves an inconclusive finding; answers that are none are an error.

    Raises:
        InputError: the commitment came after the first query would have.
        SuspectError, SSCLError: it cannot be queried at all.
    """
    started = datetime.now(UTC)
    if case.commitment and datetime.fromisoformat(case.commitment["created"]) > started:
        raise InputError("commitment: dated after this audit's first query; such a result is not confirmatory")
    record = Record(len(oracle.context.class_names), case.images.labels.tolist())
    interruption = None
    try:
        seed = case.opening["decoy_seed"]
        ask(oracle, case.watermark, case.state, case.images, case.config, case.decoys, record, seed)
    except BudgetError as error:
        interruption = str(error)
        if len(record.queries) < len(case.images):
            raise
    effects = [
        key_effect(model, case.watermark, case.state, case.images, model.query(nhwc(case.images.images))).statistic
        for model in references or ()
    ]
    finding = decide(record, case.config, effects)
    answered_at = [datetime.fromisoformat(line["at"]) for line in oracle.transcript if "at" in line]
    started = min([started, *answered_at])
    audit = {
        "suspect": oracle.identity(),
        "class_names": list(oracle.context.class_names),
        "targets": record.targets,
        "labels": record.labels,
        "protocol": asdict(case.config),
        "access": record.access,
        "confirmatory": case.commitment is not None,
        "references": effects,
        "reference_models": [model.identity() for model in references or ()],
        "reader": oracle.reading,
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "interruption": interruption,
        "versions": versions(),
    }
    if target:
        parts = {
            AUDIT: canonical(audit),
            QUERIES: pack_record(record),
            FINDING: canonical(asdict(finding)),
        }
        if case.commitment:
            parts |= {COMMITMENT: canonical(case.commitment), OPENING: canonical(case.opening)}
        if oracle.transcript:
            parts[RAW] = b"".join(canonical(line) + b"\n" for line in oracle.transcript[: len(record.queries)])
        bundle.write(target, parts, key)
    return finding, audit
