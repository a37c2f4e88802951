from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sscl import seeds
from sscl.artifacts import load_tensors
from sscl.compute import Compute
from sscl.config import BeaconConfig, ComputeConfig, DataConfig, EmbedConfig, IndependentConfig
from sscl.data.base import Record
from sscl.data.codec import decode, encode_like
from sscl.data.formats import FORMATS
from sscl.data.store import Card, load_split, open_dataset, writing
from sscl.errors import ConfigError
from sscl.models.unet import build_unet
from sscl.stages import embed, prepare
from sscl.watermarks import State, create, embedding
from sscl.watermarks.io import load_watermark, save_watermark
from sscl.watermarks.sscl_bw import Options
from tests.conftest import CLASSES, shapes, store

COMPUTE = ComputeConfig("cpu", None, False, False, False)
COMPUTED = Compute.set_up(COMPUTE)
NO_BEACON = BeaconConfig("none", 600, None)
OPTIONS = Options(eps=0.2, a=1, b=1, c=1, width=4, epochs=1, batch_size=8, learning_rate=1e-3, images=8)


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    (tmp_path / "generator").mkdir()
    for channels in (1, 3):
        state = State(dict(build_unet(channels, 4, seeds.generator(0, "g")).state_dict()))
        folder = tmp_path / "generator" / str(channels)
        folder.mkdir()
        save_watermark(
            folder / "generator.safetensors", create("sscl_bw", OPTIONS, 1, classes=3, compute=COMPUTED), state
        )
    return tmp_path / "generator"


def embedded(rate: float, clean: Path, generator: Path, public: Path, private: Path) -> None:
    """Mark a set under the secret in a folder; without a commitment, as a stranger's."""
    config, stranger = EmbedConfig(rate, "dataset"), IndependentConfig(5, None)
    embed.run(
        embed=config,
        beacon=NO_BEACON,
        independent=stranger,
        compute=COMPUTE,
        seed=0,
        key_file=None,
        data=clean,
        generator=generator,
        public=public,
        private=private,
        variant="x",
    )


def prepared(tmp_path: Path, format: str) -> Path:
    source = store(tmp_path / "source", shapes(90, 1), shapes(9, 2), format)
    config = DataConfig(format, str(source), None, None, None, None, "stop")
    prepare.run(config, 0, tmp_path / "clean", tmp_path / "r.csv")
    return tmp_path / "clean"


@pytest.mark.parametrize("format", list(FORMATS))
def test_format_order_and_untouched_bytes_are_kept(format: str, tmp_path: Path, generator: Path) -> None:
    clean = prepared(tmp_path, format)
    public, private = tmp_path / "public", tmp_path / "private"
    embedded(0.2, clean, generator / "1", public, private)
    indices = load_tensors(private / "indices.safetensors")[0]["indices"].tolist()
    assert len(indices) == 18
    (_, before), (card, after) = open_dataset(clean), open_dataset(public)
    assert card.format == format
    pairs = list(zip(before.records("train"), after.records("train"), strict=True))
    for number, (old, new) in enumerate(pairs):
        assert (old.name, old.label) == (new.name, new.label)
        assert (old.data == new.data) == (number not in indices)
        change = np.abs(decode(old.data).astype(int) - decode(new.data).astype(int)).max()
        assert change <= 51
        assert new.label == 1 or change == 0
    assert [r.data for r in before.records("test")] == [r.data for r in after.records("test")]


def test_public_and_private_are_apart(tmp_path: Path, generator: Path) -> None:
    clean = prepared(tmp_path, "parquet")
    public, private = tmp_path / "public", tmp_path / "private"
    embedded(0.2, clean, generator / "1", public, private)
    assert {p.name for p in public.iterdir()} == {"train.parquet", "test.parquet", "dataset.json"}
    assert {p.name for p in private.iterdir()} == {
        "draw.json",
        "generator.safetensors",
        "indices.safetensors",
        "secret.json",
    }
    told = (public / "dataset.json").read_text()
    assert not any(word in told for word in ("target", "eps", "rate", "index", "indices", "marked", "generator"))
    assert json.loads((private / "secret.json").read_text())["targets"] == [1]


def test_stream_is_the_in_memory_embedding(tmp_path: Path, generator: Path) -> None:
    """The stage and ``Watermark.embed`` are two ways to one result."""
    clean = prepared(tmp_path, "parquet")
    config = EmbedConfig(0.2, "dataset")
    embedded(0.2, clean, generator / "1", tmp_path / "public", tmp_path / "private")
    watermark, state = load_watermark(generator / "1/generator.safetensors", 3, Compute.set_up(COMPUTE))
    whole = watermark.embed(load_split(clean, "train"), config, state, seeds.secret(5, None).part("embed", "x"))
    streamed = load_split(tmp_path / "public", "train").images
    assert (streamed.int() - whole.data.images.int()).abs().max() <= 1  # float rounding differs by batch size
    changed = (streamed != load_split(clean, "train").images).flatten(1).any(1)
    assert torch.equal(changed.nonzero().flatten(), whole.indices)


def test_jpeg_stays_jpeg_with_its_tables(tmp_path: Path, generator: Path) -> None:
    data = shapes(30, 1, size=32, channels=3)
    with writing(tmp_path / "source", "parquet", CLASSES, {}) as writer:
        for split in ("train", "test"):
            for number, (image, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True)):
                buffer = io.BytesIO()
                shifted = image + (20 if split == "test" else 0)
                Image.fromarray(shifted.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=83, subsampling=2)
                writer.write(split, Record(f"{number}.jpg", buffer.getvalue(), label))
    config = DataConfig("parquet", str(tmp_path / "source"), None, None, None, None, "stop")
    prepare.run(config, 0, tmp_path / "clean", tmp_path / "r.csv")
    clean, public, private = tmp_path / "clean", tmp_path / "public", tmp_path / "private"
    embedded(0.2, clean, generator / "3", public, private)
    tables = set()
    for record in open_dataset(public)[1].records("train"):
        image = Image.open(io.BytesIO(record.data))
        assert image.format == "JPEG"
        tables.add((str(image.quantization), str(image.layer)))  # type: ignore[attr-defined]
    assert len(tables) == 1


def test_impossible_rate_writes_nothing_private(tmp_path: Path, generator: Path) -> None:
    clean, public, private = prepared(tmp_path, "parquet"), tmp_path / "public", tmp_path / "private"
    with pytest.raises(ConfigError, match=r"is 45 images, which .* use at most 0\.3333, which any class can"):
        embedded(0.5, clean, generator / "1", public, private)
    assert [path.name for path in private.iterdir()] == ["draw.json"]
    assert not public.exists()
    assert Card.read(clean).counts["train"] == 90


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_lossless_codecs_keep_pixels(kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    changed = 255 - pixels
    encoded = encode_like(changed, buffer.getvalue())
    assert Image.open(io.BytesIO(encoded)).format == kind
    assert (decode(encoded) == changed).all()


def test_few_large_images_wait_for_others(generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defect: 4,096 photographs of 224 px took three gigabytes. How many wait changes nothing in the release."""
    clean = prepared(tmp_path, "parquet")
    embedded(0.2, clean, generator / "1", tmp_path / "whole", tmp_path / "secret")
    waiting: list[int] = []
    usual = embedding._mark_held
    monkeypatch.setattr("sscl.watermarks.embedding.HELD", 2000)
    monkeypatch.setattr(
        "sscl.watermarks.embedding._mark_held",
        lambda held, *given, **how: waiting.append(len(held)) or usual(held, *given, **how),
    )
    embedded(0.2, clean, generator / "1", tmp_path / "parts", tmp_path / "secret2")
    assert max(waiting) < 10
    assert torch.equal(load_split(tmp_path / "whole", "train").images, load_split(tmp_path / "parts", "train").images)
