"""What the owner's own clean model answers: committed to, and subtracted from what a suspect answers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from sscl.audit.record import Record
from sscl.errors import InputError
from sscl.types import BENIGN

LEAST_REFERENCE, LARGEST_REFERENCE = 5e-7, 1e6  # sizes of a reference effect: they are rounded to six decimals
SURE = 1 - 1e-5  # probability: if most answers are so sure, they are compared with the reference's labels


@dataclass(frozen=True)
class References:
    """What the owner's own clean model answers: effects that are subtracted from every suspect's.

    Attributes:
        first: float64 (K, C), over the first images alone. all: over all images.
    """

    first: np.ndarray
    all: np.ndarray

    def as_json(self) -> dict[str, list[list[float]]]:
        """As a commitment has them."""
        return {"first": self.first.tolist(), "all": self.all.tolist()}


def references_for(opening: dict[str, Any], record: Record) -> References:
    """The committed reference effects for a suspect that tells so much as its answers do, whatever they are called."""
    if record.access == "features":
        return references_of(opening, "features")
    first = takewhile(lambda query: query.mark == BENIGN, record.queries)  # what is known when the first bet is made
    told = [query.answer for query in first if query.answer is not None]
    sure = [max(row) >= SURE for row in told]  # most: one answer more or less, or a digit of one, changes nothing
    return references_of(opening, "labels" if 2 * sum(sure) > len(sure) else "probabilities")


def references_of(opening: dict[str, Any], access: str) -> References:
    """The committed reference effects for ``probabilities``, ``labels`` or ``features``.

    Raises:
        InputError: the commitment has none for this access.
    """
    found = opening["references"].get(access)
    if found is None:
        raise InputError(f"references: none for {access}; commit to attraction or alignment as audit.statistic")
    first, all_ = (np.array(found[part], dtype=np.float64) for part in ("first", "all"))
    for part in (first, all_):
        sizes = np.abs(part[part != 0])
        if part.shape != (opening["mark_count"], opening["groups"]) or not np.isfinite(part).all():
            raise InputError(
                "references: expected a finite number for each mark and group, as `sscl stage commit` writes"
            )
        if sizes.size and not (sizes.min() >= LEAST_REFERENCE and sizes.max() <= LARGEST_REFERENCE):
            raise InputError("references: sizes that no effects have; expected those that `sscl stage commit` writes")
    return References(first, all_)
