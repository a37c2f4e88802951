"""Stage ``imprint``: draw the word, and imprint it on the owner's encoder."""

from __future__ import annotations

from pathlib import Path

import torch

from sscl import seeds
from sscl.artifacts import read_json, write_json
from sscl.audit.beacon import promised_pulse
from sscl.audit.opening import draw_word, require_for
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import BeaconConfig, ComputeConfig, ImprintConfig
from sscl.data.store import load_split
from sscl.encoders.imprint import Code
from sscl.encoders.imprint import imprint as imprinted
from sscl.layout import COMMITMENT, DRAW, MODEL, OPENING
from sscl.learning.downstream import linear_probe
from sscl.models.io import load_classifier, save_classifier
from sscl.train import benign_accuracy
from sscl.watermarks.io import GENERATOR, load_watermark, save_watermark
from sscl.watermarks.ownership_code import require_marks, with_word


def run(
    *,
    imprint: ImprintConfig,
    beacon: BeaconConfig,
    compute: ComputeConfig,
    seed: int,
    key_file: str | None,
    data: Path,
    encoder: Path,
    generator: Path,
    opening: Path,
    commitment: Path,
    public: Path,
    private: Path,
    checkpoint: Checkpoint,
) -> None:
    """Write the encoder that customers get to ``public``, and the secret with its word to ``private``.

    The encoder's last linear layer is a probe for the classes of ``data``; whoever wants features leaves it out.

    Raises:
        ConfigError: a method without an exact test, or a commitment for a dataset.
        SSCLError: the beacon's pulse is not published yet.
    """
    resolved, train = Compute.set_up(compute), load_split(data, "train")
    loaded, state = load_watermark(generator / GENERATOR, train.classes, resolved)
    watermark = require_marks(loaded)
    opened = read_json(opening / OPENING)
    require_for(opened, "encoder")
    pulse = promised_pulse(read_json(commitment / COMMITMENT), beacon)
    state = with_word(state, torch.from_numpy(draw_word(opened, pulse)))
    start, _ = load_classifier(encoder / MODEL, train.classes)
    key = seeds.secret(seed, key_file).part("imprint")
    found = imprinted(
        resolved.place(start),
        Code(watermark, state),
        train,
        config=imprint,
        compute=resolved,
        key=key,
        checkpoint=checkpoint,
    )
    probed = linear_probe(found, train, resolved)
    public.mkdir(parents=True)
    private.mkdir(parents=True)
    save_classifier(public / MODEL, probed, benign_accuracy=benign_accuracy(probed, load_split(data, "test"), resolved))
    save_watermark(private / GENERATOR, watermark, state)
    write_json(private / DRAW, {"pulse": pulse and pulse.as_json()})
