"""From an API's JSON to a row of probabilities. What cannot be read is an error that says which key to set."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jsonpath_ng.parser import JsonPathParser

from sscl.answers.scale import Scale, as_probabilities
from sscl.errors import ConfigError, printable
from sscl.types import Access

# Paths to one place, or to all entries of a list. Others can search for ever, or pick and order single numbers.
PLAIN_PATH = re.compile(r"\$(\.[\w-]+|\[\d+\]|\[\*\]|\['[^'\]]+'\])*")
LONGEST_PATH = 200  # characters
REFUSALS = (400, 413, 415, 422)  # the API declines this image: an abstention, not worth another try
LARGEST_REPLY = 1 << 19  # bytes; escaped in evidence, a byte may take six
NUMBERED = re.compile(r"(?:LABEL|label|CLASS|class)[_ ]?(\d{1,9})")


@dataclass(frozen=True)
class Reading:
    """Where the answer is in a reply, and what it means.

    Attributes:
        probabilities: JSONPath of one number a class, in index order, or of an object with a number for every class
            name; of an embedding's numbers, with ``scale: features``; or
        labels: JSONPath of the answered labels (names or indices), best first, and
        scores: JSONPath of their probabilities; ``None`` if the API tells only the label.
        scale: what the numbers are.
        names: the API's own names of classes, with the dataset's.
    """

    probabilities: str | None = None
    labels: str | None = None
    scores: str | None = None
    scale: Scale = "probabilities"
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.probabilities is None) == (self.labels is None):
            raise ConfigError("probabilities: give either `probabilities` or `labels`, a JSONPath such as $.scores")
        if self.scale == "features" and self.probabilities is None:
            raise ConfigError("scale: features are numbers; say where they are with probabilities: $.embedding")
        if self.scores is not None and self.labels is None:
            raise ConfigError("scores: of labels; say where these are with labels: $.items[*].label, or leave it out")
        if self.labels is not None and self.scale not in ("probabilities", "percent"):
            raise ConfigError(f"scale: {self.scale} is not possible with labels; expected probabilities or percent")
        for name in ("probabilities", "labels", "scores"):
            path = getattr(self, name)
            if path is not None and (len(path) > LONGEST_PATH or not PLAIN_PATH.fullmatch(path)):
                raise ConfigError(
                    f"{name}: {printable(path)!r} is not a plain JSONPath such as $.scores or $.items[*].score, "
                    f"of at most {LONGEST_PATH} characters"
                )


class Reader:
    """Reads one response body at a time; two different labels of an API are never read as one class.

    Args:
        class_names: of the dataset, in index order; labels that are strings are looked up here.
        reading: where the answer is.
    """

    def __init__(self, class_names: Sequence[str], reading: Reading) -> None:
        self._names = {name: index for index, name in enumerate(class_names)}
        for theirs, ours in reading.names.items():
            if ours not in self._names:
                some = ", ".join(printable(name, 40) for name in list(self._names)[:10])
                raise ConfigError(f"names: the dataset has no class {printable(ours, 40)!r}; it has {some}")
            known = theirs in self._names or NUMBERED.fullmatch(theirs) or theirs.isdigit()
            if (known and theirs != ours) or list(reading.names.values()).count(ours) > 1:
                raise ConfigError(
                    f"names: {printable(theirs, 40)!r} cannot stand for {printable(ours, 40)!r}; map each of the API's "
                    "names that the dataset does not have to one class of its own"
                )
        self._reading, self._count = reading, len(class_names)
        paths = (reading.probabilities, reading.labels, reading.scores)
        self._probabilities, self._labels, self._scores = (p and JsonPathParser().parse(p) for p in paths)
        told = (
            "features"
            if reading.scale == "features"
            else "probabilities"
            if reading.probabilities
            else "top_k"
            if reading.scores
            else "labels"
        )
        self.access: Access = told  # type: ignore[assignment]
        self._heard: dict[int, Any] = {}  # by class, the API's own label, of all replies

    def read(self, body: str) -> np.ndarray:
        """One row, float64 (K,).

        Raises:
            ValueError: no answer is where it should be, or it is none; says what is there and which key to set.
        """
        try:
            return self._read(body)
        except RecursionError:
            raise ValueError(f"the answer is nested too deeply: {printable(body, 80)}") from None

    def _read(self, body: str) -> np.ndarray:
        try:
            document = json.loads(body)
            document = json.loads(document) if isinstance(document, str) else document  # JSON within JSON
        except ValueError:
            raise ValueError(f"the answer is not JSON: {printable(body, 80)}") from None
        if self._probabilities is not None:
            found = self._found(self._probabilities, document, "probabilities")
            return self._row(self._ordered(found))
        labels = [self._index(label) for label in self._listed(self._labels, document, "labels")]
        if len(set(labels)) != len(labels):
            raise ValueError("a label is answered twice")
        row = np.zeros(self._count)
        if self._scores is None:
            row[labels[0]] = 1.0
            return row
        numbers = self._numbers(self._listed(self._scores, document, "scores"))
        if len(numbers) != len(labels):
            raise ValueError(f"{len(labels)} labels and {len(numbers)} scores; set labels and scores to the same list")
        row[labels] = numbers / (100.0 if self._reading.scale == "percent" else 1.0)
        return row

    def _row(self, values: list[Any]) -> np.ndarray:
        numbers = self._numbers(values)
        if len(numbers) != self._count:
            said = f"{len(numbers)} probabilities in the answer, the dataset has {self._count} classes"
            raise ValueError(f"{said}; correct the path in probabilities")
        scale = self._reading.scale
        if scale == "features":
            return numbers
        if scale == "probabilities":
            if (numbers < 0).any():
                raise ValueError("negative numbers are no probabilities; if they are logits, set scale: logits")
            if 90 < numbers.sum() < 110:
                raise ValueError("the numbers add up to 100; set scale: percent")
            return numbers
        row: np.ndarray = as_probabilities(numbers[None], scale)[0]
        return row

    def _ordered(self, found: Any) -> list[Any]:
        """A list of numbers: of an object by class name, of a list of one list that list."""
        if isinstance(found, dict):
            by_index = {self._index(name): value for name, value in found.items()}
            if len(by_index) != self._count or len(found) != self._count:
                raise ValueError(f"{len(found)} classes in the answer, the dataset has {self._count}")
            return [by_index[index] for index in range(self._count)]
        while isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
            found = found[0]
        if not isinstance(found, list):
            raise ValueError(f"{printable(repr(found), 60)} is no list of numbers; correct the path in probabilities")
        if found and isinstance(found[0], dict):
            raise ValueError("a list of objects, not of numbers; set labels and scores, e.g. $[*].label, $[*].score")
        return found

    def _found(self, path: Any, document: Any, key: str) -> Any:
        values = [match.value for match in path.find(document)]
        if not values or values == [None]:
            shown = printable(json.dumps(document), 100)
            raise ValueError(
                f"nothing at {getattr(self._reading, key)}; the answer is {shown}; correct the path in {key}"
            )
        return values[0] if len(values) == 1 and isinstance(values[0], list | dict) else values

    def _listed(self, path: Any, document: Any, key: str) -> list[Any]:
        found = self._found(path, document, key)
        if not isinstance(found, list) or not found:
            raise ValueError(f"no list at {getattr(self._reading, key)}; correct {key}")
        return found

    def _numbers(self, values: list[Any]) -> np.ndarray:
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            raise ValueError(f"{printable(repr(values[:3]), 60)} are no numbers; correct the path")
        try:
            numbers = np.array(values, dtype=np.float64)
        except OverflowError:
            raise ValueError("a number is too large") from None
        if not np.isfinite(numbers).all():
            raise ValueError("numbers must be finite, and one is not")
        return numbers

    def _index(self, label: Any) -> int:
        said = label
        if isinstance(label, str):
            label = self._reading.names.get(label, label)
            numbered = NUMBERED.fullmatch(label)
            label = self._names[label] if label in self._names else numbered[1] if numbered else label
        index = self._numbered(label)
        if self._heard.setdefault(index, said) != said:
            raise ValueError(
                f"labels {printable(repr(self._heard[index]), 40)} and {printable(repr(said), 40)} are both read as "
                "one class; correct names: labels may not be merged"
            )
        return index

    def _numbered(self, label: Any) -> int:
        index = -1
        if isinstance(label, str) and label.isascii() and label.isdigit() and len(label) < 10:
            index = int(label)
        elif isinstance(label, int) and not isinstance(label, bool):
            index = label
        if not 0 <= index < self._count:
            raise ValueError(
                f"label {printable(repr(label), 40)} in the answer is no class of the dataset "
                f"({', '.join(list(self._names)[:10])}); set names, e.g. names: {{their name: name in the dataset}}"
            )
        return index
