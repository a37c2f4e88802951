"""Stage ``embed``: draw the word, and mark a share of a dataset as a stream; memory does not grow with the dataset."""

from __future__ import annotations

from pathlib import Path

import torch

from sscl import seeds
from sscl.artifacts import read_json, write_json
from sscl.audit.beacon import promised_pulse
from sscl.audit.opening import draw_word, require_for
from sscl.compute import Compute
from sscl.config import BeaconConfig, ComputeConfig, EmbedConfig, IndependentConfig
from sscl.data.store import Card
from sscl.layout import COMMITMENT, DRAW, OPENING
from sscl.watermarks.embedding import embed_under, throw_away
from sscl.watermarks.io import GENERATOR, load_watermark
from sscl.watermarks.ownership_code import OwnershipCode, with_word


def run(
    *,
    embed: EmbedConfig,
    beacon: BeaconConfig,
    independent: IndependentConfig,
    compute: ComputeConfig,
    seed: int,
    key_file: str | None,
    data: Path,
    generator: Path,
    public: Path,
    private: Path,
    variant: str,
    opening: Path | None = None,
    commitment: Path | None = None,
) -> None:
    """Draw the word, write the released dataset to ``public`` and what only the owner may know to ``private``.

    ``public`` has the clean dataset's format, names and order; images that were not selected are byte-identical.
    ``private`` has the generator with its word, the marked indices (positions in the training split), how the word was
    drawn, and the config.

    Args:
        opening, commitment: of the release, whose word follows from them; another owner's follows from a seed.

    Raises:
        ConfigError: the classes cannot supply the rate, or the commitment is for an encoder.
        SSCLError: the beacon's pulse is not published yet, or cannot be fetched.
    """
    key = seeds.secret(seed, key_file) if opening else seeds.secret(independent.seed, None)
    watermark, state = load_watermark(generator / GENERATOR, len(Card.read(data).class_names), Compute.set_up(compute))
    pulse = None
    if isinstance(watermark, OwnershipCode) and opening and commitment:
        opened = read_json(opening / OPENING)
        require_for(opened, "dataset")
        pulse = promised_pulse(read_json(commitment / COMMITMENT), beacon)
        state = with_word(state, torch.from_numpy(draw_word(opened, pulse)))
    elif isinstance(watermark, OwnershipCode):
        state = throw_away(watermark, state, Card.read(data), key.part("word", variant))
    private.mkdir(parents=True)
    write_json(private / DRAW, {"pulse": pulse and pulse.as_json()})
    part = key.part("embed", variant)
    embed_under(watermark, state, embed, key=part, data=data, public=public, private=private, label=variant)
