"""Random numbers from 256 secret bits: SHAKE-256 in counter mode, with sampling that any language can repeat.

``torch.Generator`` keeps 32 bits of its seed, so a secret drawn from it can be found by trying them all. Everything
that must stay secret is drawn here.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch  # loaded on first use, as in sscl.seeds

KEY_BYTES = 32
_BLOCK = 1 << 16  # bytes that are squeezed at a time
_MT19937_WORDS = 624
_STATE_AT = 24  # where torch's CPU generator state has the words: after the seed, and two counters


class Keystream:
    """A stream of random numbers that its key alone decides.

    Block ``i`` of the stream is ``SHAKE-256(0x00 || key || i as 8 bytes, big-endian)``, 65,536 bytes long; numbers are
    its 64-bit little-endian words in order. ``permuted`` and ``integers`` have numpy's signatures.

    Args:
        key: 32 bytes.

    Raises:
        ValueError: a key of another length.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
        self._key, self._block, self._left = key, 0, b""

    def part(self, *names: str) -> Keystream:
        """The stream for the use called ``names``, independent of this one and of those of other names.

        Its key is the first 32 bytes of ``SHAKE-256(0x01 || key || names as a JSON list)``.
        """
        named = json.dumps(names, separators=(",", ":")).encode()
        return Keystream(hashlib.shake_256(b"\x01" + self._key + named).digest(KEY_BYTES))

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        parts = [self._left]
        missing = count - len(self._left)
        while missing > 0:
            parts.append(hashlib.shake_256(b"\x00" + self._key + self._block.to_bytes(8, "big")).digest(_BLOCK))
            self._block += 1
            missing -= _BLOCK
        found = b"".join(parts)
        self._left = found[count:]
        return found[:count]

    def integers(self, high: int, size: int | tuple[int, ...] = ()) -> np.ndarray:
        """int64 of shape ``size``, uniform in ``[0, high)``: words from the uneven end of the range are passed over."""
        limit = (1 << 64) - (1 << 64) % high
        count = int(np.prod(size))
        found = np.empty(0, dtype=np.uint64)
        while len(found) < count:
            fresh = self._words(count - len(found))
            found = np.concatenate((found, fresh[fresh <= np.uint64(limit - 1)]))
        return (found % np.uint64(high)).astype(np.int64).reshape(size)

    def permuted(self, x: np.ndarray, axis: int) -> np.ndarray:
        """``x`` with the values along ``axis`` in random order, each slice in one of its own."""
        order = self._words(x.size).reshape(x.shape).argsort(axis=axis, kind="stable")
        return np.take_along_axis(x, order, axis)

    def permutation(self, count: int) -> np.ndarray:
        """int64 (count,): the numbers below ``count`` in random order."""
        return self.permuted(np.arange(count), 0)

    def uniform(self, size: int | tuple[int, ...] = ()) -> np.ndarray:
        """float64 of shape ``size`` in [0, 1), multiples of 2^-53."""
        found: np.ndarray = (self._words(int(np.prod(size))) >> np.uint64(11)) * 2.0**-53
        return found.reshape(size)

    def torch(self) -> torch.Generator:
        """A CPU generator whose whole state comes from this stream, for training that must not be repeatable by others.

        For what only looks random, such as initial weights; marks and words are drawn by the methods above.
        """
        import torch

        generator = torch.Generator().manual_seed(0)
        state = generator.get_state().clone()
        words = np.frombuffer(self.take(4 * _MT19937_WORDS), dtype="<u4").astype("<u8")
        end = _STATE_AT + 8 * _MT19937_WORDS
        state[_STATE_AT:end] = torch.frombuffer(bytearray(words.tobytes()), dtype=torch.uint8)
        generator.set_state(state)
        return generator

    def _words(self, count: int) -> np.ndarray:
        return np.frombuffer(self.take(8 * count), dtype="<u8")
