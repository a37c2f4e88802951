"""Stage ``rehearse``: release under a throw-away word and train on that, so that quality is judged without selection.

The gate looks at this model alone. Whoever looked at a model of the released word and started again where it displeased
would choose the word.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sscl import seeds
from sscl.artifacts import write_json
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import ComputeConfig, EmbedConfig, RehearsalConfig, TrainConfig
from sscl.data.store import Card
from sscl.layout import DRAW
from sscl.learning.learn import train_and_save
from sscl.watermarks.embedding import embed_under, throw_away
from sscl.watermarks.io import GENERATOR, load_watermark
from sscl.watermarks.ownership_code import OwnershipCode


def run(
    *,
    embed: EmbedConfig,
    user: TrainConfig,
    rehearsal: RehearsalConfig,
    compute: ComputeConfig,
    seed: int,
    key_file: str | None,
    data: Path,
    generator: Path,
    out: Path,
    checkpoint: Checkpoint,
) -> None:
    """Write the rehearsed release, its secret and the user's model to ``data``, ``secret`` and ``model`` in ``out``.

    A shortened training has its equal on clean images beside it, in ``clean``: accuracy after few epochs says nothing
    by itself.
    """
    resolved, card = Compute.set_up(compute), Card.read(data)
    key = seeds.secret(seed, key_file).part("rehearsal")
    watermark, state = load_watermark(generator / GENERATOR, len(card.class_names), resolved)
    if isinstance(watermark, OwnershipCode):
        state = throw_away(watermark, state, card, key.part("word"))
    secret = out / "secret"
    secret.mkdir(parents=True)
    write_json(secret / DRAW, {"pulse": None})
    part, public = key.part("embed"), out / "data"
    embed_under(watermark, state, embed, key=part, data=data, public=public, private=secret, label="rehearsal")
    trainings = {"model": out / "data"} | ({"clean": data} if rehearsal.epochs else {})
    config = replace(user, epochs=rehearsal.epochs or user.epochs)
    for name, images in trainings.items():
        kept = checkpoint.part(name)
        train_and_save(config, resolved, seed, use="rehearsal", data=images, out=out / name, checkpoint=kept)
