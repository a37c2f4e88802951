"""Stage ``commit``: fix marks, images, references and test before the word is drawn; publish only a hash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sscl import seeds
from sscl.artifacts import digest, write_atomically, write_json
from sscl.audit import timestamp
from sscl.audit.commitment import Draft, open_up, seal, store_queries
from sscl.audit.opening import images_key, salt_of
from sscl.audit.questions import questions_for
from sscl.compute import Compute
from sscl.config import AuditConfig, BeaconConfig, ComputeConfig
from sscl.data.store import Card, load_split
from sscl.layout import COMMITMENT, MODEL, OPENING, SENT, TIMESTAMP_REQUEST
from sscl.statistics.effects import STATISTICS
from sscl.suspects import Context, open_oracle
from sscl.watermarks.io import GENERATOR, load_watermark
from sscl.watermarks.ownership_code import OwnershipCode, marks_digest


def run(
    *,
    audit: AuditConfig,
    beacon: BeaconConfig,
    compute: ComputeConfig,
    seed: int,
    key_file: str | None,
    data: Path,
    generator: Path,
    reference: Path,
    public: Path,
    private: Path,
) -> None:
    """Write the commitment and an RFC 3161 request to ``public``, and what opens it to ``private``.

    A method without an exact test is committed to by the digest of its secret.

    Raises:
        ConfigError: so few marks that no answer could be evidence enough.
    """
    resolved = Compute.set_up(compute)
    public.mkdir(parents=True)
    private.mkdir(parents=True)
    card, test_split = Card.read(data), load_split(data, "test")
    watermark, state = load_watermark(generator / GENERATOR, test_split.classes, resolved)
    key = seeds.secret(seed, key_file).part("commitment", card.name, audit.version, str(audit.attempt))
    if isinstance(watermark, OwnershipCode):
        questions = questions_for(test_split, watermark, state, config=audit, key=images_key(salt_of(key)))
        path, context, encoder = str(reference / MODEL), Context(card.class_names, resolved), None
        if not STATISTICS[audit.statistic].matched:
            encoder = open_oracle(path, replace(context, class_names=None), {"output": "features"})
        model = open_oracle(path, context)
        opening = open_up(Draft(marks_digest(state), questions, audit, model, encoder), key)
        store_queries(private / SENT, questions.sent)
    else:
        opening = {"salt": salt_of(key).hex(), "secret": digest(generator / GENERATOR)}
    commitment = seal(opening, card.name, audit, beacon)
    write_json(private / OPENING, opening)
    write_json(public / COMMITMENT, commitment)
    write_atomically(public / TIMESTAMP_REQUEST, timestamp.request(commitment))
