"""The secret stream: all of its 256 bits count, its samples are uniform, and anybody can repeat them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sscl import seeds
from sscl.errors import InputError
from sscl.keystream import Keystream

KEY = bytes(range(32))


def test_the_stream_is_what_its_description_says() -> None:
    """Written again from the docstring alone."""
    block = hashlib.shake_256(b"\x00" + KEY + (0).to_bytes(8, "big")).digest(1 << 16)
    following = hashlib.shake_256(b"\x00" + KEY + (1).to_bytes(8, "big")).digest(1 << 16)
    stream = Keystream(KEY)
    assert stream.take(70_000) + stream.take(8) == (block + following)[:70_008]
    child = hashlib.shake_256(b"\x01" + KEY + b'["a","b"]').digest(32)
    assert Keystream(KEY).part("a", "b").take(16) == Keystream(child).take(16)


def test_seeds_that_torch_cannot_tell_apart_give_different_streams() -> None:
    """torch.Generator keeps a seed modulo 2^32; the defect that this replaces."""
    one, other = 5, 5 + 2**32
    same = [torch.rand(4, generator=torch.Generator().manual_seed(seed)) for seed in (one, other)]
    assert torch.equal(*same)
    assert seeds.secret(one, None).take(32) != seeds.secret(other, None).take(32)
    drawn = [torch.rand(4, generator=seeds.secret(seed, None).torch()) for seed in (one, other)]
    assert not torch.equal(*drawn)


@given(st.integers(0, 255), st.integers(0, 31))
def test_every_bit_of_the_key_counts(bit: int, byte: int) -> None:
    changed = bytearray(KEY)
    changed[byte] ^= 1 << (bit % 8)
    assert Keystream(bytes(changed)).take(16) != Keystream(KEY).take(16)


def test_parts_are_named_without_ambiguity() -> None:
    key = Keystream(KEY)
    names = [("ab",), ("a", "b"), ("a/b",), ("a,b",), ('a","b',)]
    assert len({key.part(*name).take(16) for name in names}) == len(names)


def test_integers_are_uniform_and_permutations_are_fair() -> None:
    key = Keystream(KEY)
    counts = np.bincount(key.integers(7, 70_000), minlength=7)
    assert stats.chisquare(counts).pvalue > 1e-4
    rows = key.permuted(np.tile(np.arange(3), (12_000, 1)), axis=1)
    orders = np.unique(rows @ [9, 3, 1], return_counts=True)[1]
    assert len(orders) == 6
    assert stats.chisquare(orders).pvalue > 1e-4
    assert sorted(key.permutation(50).tolist()) == list(range(50))
    assert stats.kstest(key.uniform(10_000), "uniform").pvalue > 1e-4


def test_the_uneven_end_of_the_range_is_passed_over() -> None:
    """A remainder of 2^64 by a large bound would favour small numbers by half."""
    bound = (1 << 63) + (1 << 62)
    drawn = Keystream(KEY).integers(bound - 1 - (1 << 62), 4000).astype(float)
    assert stats.kstest(drawn / (bound - 1 - (1 << 62)), "uniform").pvalue > 1e-4


def test_torchs_generator_holds_the_stream_as_numpys_does() -> None:
    """The whole state of MT19937, by an independent implementation of it."""
    words = np.frombuffer(Keystream(KEY).take(4 * 624), dtype="<u4")
    reference = np.random.MT19937()
    reference.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 624}}
    expected = reference.random_raw(10)[1::2]  # torch takes the second of two words for a small integer
    drawn = torch.randint(0, 2**31, (5,), generator=Keystream(KEY).torch())
    assert drawn.tolist() == [int(word) % 2**31 for word in expected]


def test_keys_have_256_bits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a key has 32 bytes, not 16"):
        Keystream(bytes(16))
    (tmp_path / "short.key").write_bytes(bytes(31))
    with pytest.raises(InputError, match=r"short\.key has 31 bytes, expected 32 or more"):
        seeds.secret(0, str(tmp_path / "short.key"))
    with pytest.raises(InputError, match="`sscl keygen --release FILE` makes one"):
        seeds.secret(0, str(tmp_path / "none.key"))
    for name, content in (("a", bytes(32)), ("b", bytes(31) + b"\x01")):
        (tmp_path / name).write_bytes(content)
    streams = {seeds.secret(seed, str(tmp_path / name)).take(8) for seed in (0, 1) for name in "ab"}
    assert len(streams) == 4
