"""A release for each licensee, under a word of its own; and whose copy a model was trained on.

All copies have the same marks, so one set of queries is held against every copy. Each copy has a commitment and a word
of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from sscl import seeds
from sscl.artifacts import digest, key_of, read_json, write_atomically, write_json
from sscl.audit import beacon, timestamp
from sscl.audit.beacon import promised_pulse
from sscl.audit.check_suspect import FILES
from sscl.audit.commitment import seal
from sscl.audit.examine import Case
from sscl.audit.guarantees import out_of_order
from sscl.audit.opening import copy_for, differences, draw_word, null_key, require_for
from sscl.audit.protocol import ask
from sscl.audit.record import Record
from sscl.audit.references import references_for
from sscl.audit.spending import level
from sscl.audit.trial import Trial, null_of
from sscl.compute import Compute
from sscl.config import NAME, Config, dump
from sscl.data.store import Card
from sscl.errors import ConfigError, InputError
from sscl.layout import CLEAN, COMMITMENT, DRAW, MARKS, OPENED, OPENING, SENT, TIMESTAMP_REQUEST, Root
from sscl.provenance import code_digest
from sscl.slots import Slot, building
from sscl.statistics.tracing import marks_needed
from sscl.statistics.tracing import trace as corrected
from sscl.suspects import Oracle
from sscl.watermarks.embedding import embed_under
from sscl.watermarks.io import GENERATOR, load_watermark
from sscl.watermarks.ownership_code import require_marks, with_word

EVERYBODY = "(the release for everybody)"


def protect(root: Root, config: Config, recipient: str) -> Root:
    """The dataset under the recipient's own word, made unless it is there; an output root to audit with.

    The copy is committed to first. With a beacon its word is drawn with the pulse that this commitment names, so run it
    again when that is published.

    Raises:
        InputError: an impossible name, no finished pipeline, or another copy is there. ConfigError: a method without
            words. SSCLError: the pulse is not published yet.
    """
    if not NAME.fullmatch(recipient):
        raise InputError(f"recipient: {recipient!r} is not possible, expected letters, digits, dots and dashes")
    copy = root.recipient(recipient)
    raw = dump(config)
    sections = {name: raw[name] for name in ("seed", "key_file", "embed", "compute")}
    inputs: dict[str, str | None] = {name: digest(root.path / name) for name in (CLEAN, MARKS, OPENED)}
    inputs["key_file"] = seeds.secret_digest(config.key_file)
    key = key_of(recipient=recipient, config=sections, inputs=inputs, code=code_digest(__name__))
    committed = Slot(f"commit-{recipient}", (copy.committed, copy.opened), key, root.state, irrevocable=True)
    made = committed.manifest()
    if made and made.get("key") != key and copy.opened.exists():
        raise InputError(
            f"{copy.path}: made from another release, configuration or version of sscl; what opens its commitment "
            "would be lost, so move the folder away for a new copy"
        )
    with building(committed, overwrite=True) as temporaries:
        if temporaries is not None:
            public, private = temporaries
            _commit(root, config, recipient, public=public, private=private)
    marked = Slot(f"copy-{recipient}", (copy.released, copy.watermark), key, root.state)
    with building(marked, overwrite=True) as temporaries:
        if temporaries is not None:
            public, private = temporaries
            _embed(root, config, recipient, public=public, private=private)
    return copy


def _commit(root: Root, config: Config, recipient: str, *, public: Path, private: Path) -> None:
    key = seeds.secret(config.seed, config.key_file)
    opening = copy_for(read_json(root.opening), recipient, key)
    commitment = seal(opening, Card.read(root.clean).name, config.audit, config.beacon)
    public.mkdir(parents=True)
    private.mkdir(parents=True)
    write_json(private / OPENING, opening)
    (private / SENT).symlink_to(os.path.relpath(root.sent, root.recipient(recipient).opened))
    write_json(public / COMMITMENT, commitment)
    write_atomically(public / TIMESTAMP_REQUEST, timestamp.request(commitment))


def _embed(root: Root, config: Config, recipient: str, *, public: Path, private: Path) -> None:
    classes, copy = len(Card.read(root.clean).class_names), root.recipient(recipient)
    loaded, state = load_watermark(root.marks / GENERATOR, classes, Compute.set_up(config.compute))
    watermark = require_marks(loaded)
    opened = read_json(copy.opening)
    require_for(opened, "dataset")
    pulse = promised_pulse(read_json(copy.commitment), config.beacon)
    word = torch.from_numpy(draw_word(opened, pulse))
    private.mkdir(parents=True)
    write_json(private / DRAW, {"pulse": pulse and pulse.as_json()})
    key = seeds.secret(config.seed, config.key_file).part("recipient", recipient)
    state, data = with_word(state, word), root.clean
    embed_under(
        watermark, state, config.embed, key=key, data=data, public=public, private=private, label=f"for {recipient}"
    )


@dataclass(frozen=True)
class Trace:
    """What was found of one recipient.

    Attributes:
        recipient: its name.
        p_value: exact, of its word.
        adjusted: corrected for the number of recipients, and for testing again without whom fits best.
        named: whether ``adjusted`` is at most alpha.
    """

    recipient: str
    p_value: float
    adjusted: float
    named: bool


def trace(root: Root, case: Case, oracle: Oracle, occasion: int | None = None) -> list[Trace]:
    """Whose copy a model was trained on, from as many queries as one audit takes.

    A model that did not see a recipient's copy cannot know its word, whatever other copies it saw, so each p-value is
    exact, and with Holm's correction the chance to name anybody wrongly is at most alpha. Two merged copies name both
    (``sscl.statistics.tracing``).

    Args:
        root: output root in which the copies were made.
        case: the release that they are copies of.
        oracle: the suspect.
        occasion: which tracing of this suspect it is, if there may be several: they share alpha.

    Raises:
        InputError: no recipients, too few marks for so many, or a word that does not follow from its commitment.
    """
    copies = [root.recipient(path.name) for path in sorted(root.recipients.glob("*"))]
    copies = [copy for copy in copies if copy.watermark.is_dir()]
    if not copies:
        raise InputError(f"{root.recipients}: no recipients; `sscl release create VERSION --recipient NAME` makes one")
    alpha = case.config.alpha if occasion is None else level(case.config.alpha, occasion)
    try:
        wanted = marks_needed(len(case.class_names), len(copies) + 1, alpha)
    except ConfigError:
        raise InputError(
            f"{root.recipients}: {len(copies)} recipients are too many to name one at level {alpha:.3g}, whatever the "
            "number of marks; commit to a larger alpha, or trace less often"
        ) from None
    if len(case.word) < wanted:
        raise InputError(
            f"{root.recipients}: {len(case.word)} marks cannot name one of {len(copies)} recipients at "
            f"level {alpha:.3g}; commit to {wanted} marks, or to a larger alpha"
        )
    words = {EVERYBODY: case.word}
    return traced(case, oracle, words | {copy.path.name: _word(copy, case) for copy in copies}, alpha)


def traced(case: Case, oracle: Oracle, words: dict[str, np.ndarray], alpha: float) -> list[Trace]:
    """Ask a suspect once and hold the answers against every word, at the level ``alpha`` for all together."""
    record = Record(0, len(case.class_names), case.labels)
    config = replace(case.config, test="exact")
    ask(oracle, case.sent, config, record=record)
    omits = oracle.identity()["kind"] not in FILES
    trial = Trial(record, config, len(case.word), references_for(case.opening, record), omits)
    key = null_key(case.opening, case.pulse)
    null = null_of(trial.matrix, key, trial.doubt)
    adjusted = corrected(trial.matrix, words, key.part("tracing"), trial.doubt)
    found = {name: (trial.counted(null.p_value(word)), trial.counted(adjusted[name])) for name, word in words.items()}
    return [Trace(name, p_value, corrected_, corrected_ <= alpha) for name, (p_value, corrected_) in found.items()]


def _word(copy: Root, case: Case) -> np.ndarray:
    """A copy's word, as committed when the copy was made."""
    opening, drawn = read_json(copy.opening), read_json(copy.draw)["pulse"]
    pulse = drawn and beacon.read(drawn, drawn["source"])
    commitment = read_json(copy.commitment)
    if opening["marks"] != case.opening["marks"]:
        raise InputError(f"{copy.path}: a copy of an older release; audit it with that one, or remove the folder")
    now = datetime.now(UTC)
    if wrong := differences(commitment, opening) + out_of_order(commitment, pulse, None, now):
        raise InputError(f"{copy.path}: {wrong[0]}; restore the copy as it was handed out")
    return draw_word(opening, pulse)
