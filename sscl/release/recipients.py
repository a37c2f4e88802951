"""A release for each licensee, under a key of its own; and whose copy a model was trained on."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from sscl import progress, seeds
from sscl.artifacts import STATE, Slot, building, digest, key_of, read_json
from sscl.audit.decoys import draw_decoys
from sscl.audit.protocol import key_effect
from sscl.audit.statistic import Effect
from sscl.compute import Compute
from sscl.config import NAME, Config, dump
from sscl.data.store import Card
from sscl.errors import InputError
from sscl.evidence.audit import Case, prepare
from sscl.evidence.commitment import differences
from sscl.oracles import Oracle, nhwc
from sscl.provenance import code_digest
from sscl.release.places import CLEAN, COMMITTED, OPENED, RELEASED, SECRET
from sscl.stages import commit, embed
from sscl.stages.names import COMMITMENT, OPENING
from sscl.verify.rank import holm, needed, rank_p_value
from sscl.watermarks.base import KEY, KeyedWatermark, State
from sscl.watermarks.io import GENERATOR, load_watermark, save_watermark

FOLDER = "recipients"
EVERYBODY = "(the release for everybody)"


def protect(root: Path, config: Config, recipient: str) -> Path:
    """The dataset under the recipient's own key and class, made unless it is there; an output root to audit with.

    Raises:
        InputError: an impossible name, no finished pipeline, a method without keys, or another copy is there.
    """
    if not NAME.fullmatch(recipient):
        raise InputError(f"recipient: {recipient!r} is not possible, expected letters, digits, dots and dashes")
    sub = root / FOLDER / recipient
    outs = ("private/generator", RELEASED, SECRET, COMMITTED, OPENED)
    raw = dump(config)
    sections = {name: raw[name] for name in ("seed", "key_file", "embed", "audit", "compute")}
    inputs: dict[str, str | None] = {name: digest(root / name) for name in (CLEAN, SECRET)}
    inputs["key_file"] = seeds.secret_digest(config.key_file)
    key = key_of(recipient=recipient, config=sections, inputs=inputs, code=code_digest(__name__))
    slot = Slot(f"recipient-{recipient}", tuple(sub / out for out in outs), key, root / STATE)
    made = slot.manifest()
    if made and made.get("key") != key and (sub / OPENED).exists():
        raise InputError(
            f"{sub}: made from another release, configuration or version of sscl; what opens its commitment would be "
            "lost, so move the folder away for a new copy"
        )
    with building(slot, overwrite=True) as temporaries:
        if temporaries is not None:
            generator, public, private, committed, opening = temporaries
            _rekey(root, config, recipient, generator)
            use = f"release-{recipient}"
            data = root / CLEAN
            embed.run(config.embed, config.compute, config.seed, config.key_file, data, generator, public, private, use)
            commit.run(config.audit, config.compute, data, private, committed, opening)
    if not (sub / CLEAN).exists():
        (sub / CLEAN).symlink_to(os.path.relpath(root / CLEAN, sub))
    return sub


def _rekey(root: Path, config: Config, recipient: str, out: Path) -> None:
    """The release's secret under a key that the owner's secret and the recipient's name decide."""
    classes = len(Card.read(root / CLEAN).class_names)
    watermark, state = load_watermark(root / SECRET / GENERATOR, classes, Compute.resolve(config.compute))
    if not isinstance(watermark, KeyedWatermark):
        raise InputError("recipients: this watermark has no keys; use generator.method: sscl_keyed")
    seed = seeds.with_secret(config.seed, config.key_file)
    fresh = watermark.rekeyed(state, seeds.generator(seed, "recipient", recipient))
    out.mkdir(parents=True)
    method = config.generator.method
    save_watermark(out / GENERATOR, method, asdict(watermark.options), watermark.target(fresh), fresh)


@dataclass(frozen=True)
class Trace:
    """What was found of one recipient.

    Attributes:
        recipient: its name.
        delta_p: effect of its key on the model.
        p_value: exact, of its key's rank among the decoys.
        adjusted: corrected for the number of recipients (Holm).
        named: whether ``adjusted`` is at most alpha.
    """

    recipient: str
    delta_p: float
    p_value: float
    adjusted: float
    named: bool


def trace(root: Path, config: Config, oracle: Oracle) -> list[Trace]:
    """Whose copy a model was trained on: every recipient's key, and the public release's, ranked among the decoys.

    The committed protocol counts, with more decoys for many recipients. A model that never saw a copy cannot tell its
    key from a decoy, whatever other copy it saw, so each p-value is exact, and with Holm's correction the chance to
    name anybody wrongly is at most alpha.

    Raises:
        InputError: no recipients, copies of an older release, or a secret that is not the committed one.
    """
    compute = Compute.resolve(config.compute)
    case = prepare(root / SECRET, root / CLEAN, compute, root / OPENED / OPENING, root / COMMITTED / COMMITMENT)
    folders = sorted(path for path in (root / FOLDER).glob("*") if (path / SECRET).is_dir())
    if not folders:
        raise InputError(f"{root / FOLDER}: no recipients; `sscl release create VERSION --recipient NAME` makes one")
    secrets = {EVERYBODY: case.state} | {path.name: _copys_key(path, case) for path in folders}
    alpha, images, watermark = case.config.alpha, case.images, case.watermark
    wanted = max(len(case.decoys), needed(alpha / len(secrets)))
    decoys = case.decoys
    if wanted > len(decoys):  # the committed decoys are the first of a sequence that the committed seed decides
        decoys = draw_decoys(watermark, case.state, wanted, case.opening["decoy_seed"])
    benign = oracle.query(nhwc(images.images))
    keys = [*secrets.values(), *decoys]
    order = torch.randperm(len(keys), generator=seeds.generator(case.opening["decoy_seed"], "trace", "order"))
    found: dict[int, Effect] = {}
    with progress.step("trace", len(keys), "keys") as step:
        for number in order.tolist():  # random, so that a suspect that changes meanwhile treats all keys alike
            found[number] = key_effect(oracle, watermark, keys[number], images, benign)
            step.advance()
    effects = {name: found[number] for number, name in enumerate(secrets)}
    others = [found[number].statistic for number in range(len(secrets), len(keys))]
    p_values = {name: rank_p_value(found.statistic, others) for name, found in effects.items()}
    adjusted = holm(p_values)
    return [
        Trace(name, found.delta_p, p_values[name], adjusted[name], adjusted[name] <= alpha)
        for name, found in effects.items()
    ]


def _copys_key(path: Path, case: Case) -> State:
    """A copy's secret, as committed; keys of another generator would not be exchangeable with these decoys."""
    _, state = load_watermark(path / SECRET / GENERATOR, case.images.classes, case.watermark.compute)
    rest = [{n: t for n, t in s.tensors.items() if not n.startswith(KEY)} for s in (state, case.state)]
    if set(rest[0]) != set(rest[1]) or not all(torch.equal(rest[0][name], rest[1][name]) for name in rest[0]):
        raise InputError(f"{path}: a copy of an older release; audit it with that one, or remove the folder")
    opened = read_json(path / OPENED / OPENING)
    wrong = differences(read_json(path / COMMITTED / COMMITMENT), opened)
    if wrong or opened["generator"] != digest(path / SECRET / GENERATOR):
        raise InputError(f"{path}: its key is not the one that was committed to when the copy was made; restore it")
    return state
