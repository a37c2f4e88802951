"""The ownership code: several faint marks, each on images of one class; which class is which mark's is the secret word.

A model trained on the release has learnt which mark goes with which class, and a test over all words shows it exactly
(``sscl.statistics``). Marks are fixed and committed to before the word is drawn, and no query depends on it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from safetensors.torch import save
from torch import Tensor

from sscl.config import require
from sscl.data.jpeg import encoded
from sscl.errors import ConfigError, InputError
from sscl.models import Classifier
from sscl.perceptual import LPIPS
from sscl.types import BENIGN, ImageSet
from sscl.watermarks.base import WATERMARKS, FitContext, State, Watermark, budget, require_budget
from sscl.watermarks.marks import FAMILIES
from sscl.watermarks.preference import Choice, preference
from sscl.watermarks.quantise import quantise

MARKS, STRENGTHS, PREFERENCE, WORD = "marks.", "strengths", "preference", "word"  # names of the secret's tensors
BATCH = 256  # images that are marked at a time
SHOWN = 200  # images on which the visibility of a mark is measured


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: ownership_code``."""

    family: str
    marks: int
    visible: float
    eps: float
    query_eps: float
    choose: Choice
    share: float
    jpeg_quality: int | None

    def __post_init__(self) -> None:
        require(self.family in FAMILIES, "family", self.family, f"one of {', '.join(FAMILIES)}")
        most = FAMILIES[self.family].most
        require(1 <= self.marks <= most, "marks", self.marks, f"1 to {most}")
        require(self.visible > 0, "visible", self.visible, "a positive LPIPS")
        require_budget("eps", self.eps)
        require_budget("query_eps", self.query_eps)
        require(0 < self.share <= 1, "share", self.share, "a share in (0, 1]")
        quality = self.jpeg_quality
        require(quality is None or 1 <= quality <= 100, "jpeg_quality", quality, "1 to 100, or null")


@WATERMARKS.register("ownership_code")
class OwnershipCode(Watermark[Options]):
    """``x_w = clip(x + s_k m_k(x))`` for mark ``k``; labels never change.

    Marks go to a ``share`` of a class, which ``choose`` picks. Every mark's strength ``s_k`` is the largest, up to
    ``eps``, at which its LPIPS on clean images is ``visible``. Queries have the strength ``query_eps``.
    """

    Options = Options

    @property
    def eps(self) -> float:
        return self.options.eps

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        """Draw the marks and measure their strengths. There is no word yet.

        Raises:
            InputError: the images have one class, so there is nothing to assign; or no mark is faint enough.
        """
        if int(train.labels.min()) == int(train.labels.max()):
            raise InputError("generator: all images are of one class, and marks are assigned to classes")
        secret = FAMILIES[self.options.family].draw(self.options.marks, context.key.part("marks"))
        state = State({f"{MARKS}{name}": value for name, value in secret.items()})
        shown = torch.from_numpy(context.key.part("shown").permutation(len(train))[:SHOWN])
        found = {STRENGTHS: self._strengths(train.images[shown], state)}
        share, choose = self.options.share, self.options.choose
        if share < 1:
            key = context.key.part("preference")
            found[PREFERENCE] = preference(choose, train, surrogate, share=share, compute=self.compute, key=key)
        return replace(state, tensors={**state.tensors, **found})

    @property
    def supply(self) -> float:
        return self.options.share

    def shares(self, labels: Tensor, state: State) -> list[tuple[Tensor, float]]:
        """The preferred images of each mark's class; all of it in a dataset other than the one that was fitted on."""
        groups, counts = torch.unique(self.targets(state), return_counts=True)
        found = []
        for group, count in zip(groups.tolist(), counts.tolist(), strict=True):
            members = torch.nonzero(labels == group).flatten()
            preferred = state.tensors.get(PREFERENCE)
            if preferred is not None and len(preferred) == len(labels):
                first = preferred[members].argsort(descending=True, stable=True)
                members = members[first[: round(self.options.share * len(members))]].sort().values
            found.append((members, count / self.options.marks))
        return found

    def targets(self, state: State) -> Tensor:
        """The word.

        Raises:
            ValueError: none was drawn yet.
        """
        if WORD not in state.tensors:
            raise ValueError("this secret has no word yet: it is drawn after the commitment")
        return state.tensors[WORD]

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Give each image a mark of its class, one of them at random where there are several."""
        fits = labels[:, None] == self.targets(state)
        marks = torch.rand(fits.shape, generator=rng).masked_fill(~fits, -1.0).argmax(dim=1)
        return self.marked(images, marks, state.tensors[STRENGTHS][marks], state), labels

    def trigger(self, images: Tensor, state: State) -> Tensor:
        """Marks in turn."""
        marks = torch.arange(len(images)) % self.options.marks
        return self.marked(images, marks, torch.full((len(images),), self.options.query_eps), state)

    def asked(self, images: Tensor, mark: int, state: State) -> Tensor:
        """uint8 images as an audit sends them under one mark. No word is needed."""
        marks = torch.full((len(images),), mark)
        return self.marked(images, marks, torch.full((len(images),), self.options.query_eps), state)

    def queries(self, images: Tensor, state: State) -> dict[int, Tensor]:
        """What an audit sends: the uint8 images without a mark (``BENIGN``), and under each mark. No word is needed."""
        return {BENIGN: images, **{mark: self.asked(images, mark, state) for mark in range(self.options.marks)}}

    def marked(self, images: Tensor, marks: Tensor, strengths: Tensor, state: State) -> Tensor:
        """uint8 images under marks (int64 (N,)) of some strengths (float (N,))."""
        secret = {n.removeprefix(MARKS): t for n, t in state.tensors.items() if n.startswith(MARKS)}
        family, done = FAMILIES[self.options.family], [images[:0]]
        batches = (torch.split(tensor, BATCH) for tensor in (images, marks, strengths))
        for some, their, strength in zip(*batches, strict=True):
            change = family.change(some, their, secret) * strength[:, None, None, None]
            done.append(quantise(some, some / 255 + change, max(strength.tolist(), default=0.0)))
        return torch.cat(done)

    def stray(self, images: Tensor, strengths: Tensor, rng: torch.Generator) -> Tensor:
        """uint8 images under marks at random that are nobody's."""
        change = FAMILIES[self.options.family].stray(images, rng) * strengths[:, None, None, None]
        return quantise(images, images / 255 + change, max(strengths.tolist(), default=0.0))

    def _strengths(self, images: Tensor, state: State) -> Tensor:
        """float32 (K,): the largest strength of each mark at which it is no more visible than it may be."""
        device, found = self.compute.device, list[int]()
        lpips = LPIPS().to(device)
        with torch.no_grad():
            clean = lpips.described(images.to(device) / 255)
            for mark in range(self.options.marks):
                marks = torch.full((len(images),), mark)

                def distance(level: int, marks: Tensor = marks) -> float:
                    marked = self.marked(images, marks, torch.full((len(images),), level / 255), state)
                    if self.options.jpeg_quality:
                        marked = encoded(marked, self.options.jpeg_quality)
                    return float(lpips.between(clean, lpips.described(marked.to(device) / 255)).mean())

                most = budget(self.eps)  # strengths are whole grey levels, as the changes are
                found.append(largest(distance, self.options.visible, most, found[-1] if found else most // 2))
                if found[-1] == 0:
                    raise InputError(f"generator.ownership_code.visible: {self._too_little(images, lpips)}")
        return torch.tensor(found) / 255

    def _too_little(self, images: Tensor, lpips: LPIPS) -> str:
        """Why no mark is so faint as it has to be, and what to change."""
        said, quality = f"{self.options.visible:g} allows no mark on these images", self.options.jpeg_quality
        if quality is None:
            return f"{said}; raise it"
        clean, changed = (lpips.described(x.to(self.compute.device) / 255) for x in (images, encoded(images, quality)))
        alone = float(lpips.between(clean, changed).mean())
        return (
            f"{said}: JPEG at {quality} alone has an LPIPS of {alone:.3g}; set jpeg_quality: null if they are no JPEG, "
            "or raise it"
        )


def largest(distance: Callable[[int], float], limit: float, most: int, guess: int) -> int:
    """The largest number from 0 to ``most`` at a distance of at most ``limit``.

    Distances must not fall as numbers grow. Few are tried if they grow about with the square and ``guess`` is near;
    never more than three for each bit of ``most``, and one.

    >>> largest(lambda number: number * number, 900, 64, guess=28)
    30
    """
    low, high, tried, tries = 0, most + 1, min(max(guess, 1), most), 0
    while high - low > 1:
        far = distance(tried)
        low, high = (tried, high) if far <= limit else (low, tried)
        tries += 1
        likely = int(tried * math.sqrt(limit / far)) if far > 0 and tries % 3 else (low + high) // 2
        tried = min(max(likely, low + 1), high - 1)
    return low


def marks_digest(state: State) -> str:
    """SHA-256 of the marks and their strengths, whatever the word is."""
    kept = {name: tensor.contiguous() for name, tensor in state.tensors.items() if name != WORD}
    return hashlib.sha256(save(dict(sorted(kept.items())))).hexdigest()


def with_word(state: State, word: Tensor) -> State:
    """The secret under a word, int64 (K,)."""
    return replace(state, tensors={**state.tensors, WORD: word})


def require_marks(watermark: object) -> OwnershipCode:
    """The watermark, if it can be tested exactly; raises ``ConfigError``."""
    if not isinstance(watermark, OwnershipCode):
        raise ConfigError(
            "generator.method: this method has no exact test; release with ownership_code to commit and audit"
        )
    return watermark
