"""From an API's JSON to a row of probabilities, by JSONPath."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.parser import JsonPathParser

from sscl.errors import ConfigError
from sscl.types import Access


class Reader:
    """Reads one response body at a time.

    Args:
        class_names: of the dataset, in index order; labels that are strings are looked up here.
        probabilities: JSONPath of one number a class, in index order; or
        labels: JSONPath of the answered labels (names or indices), best first, and
        scores: JSONPath of their probabilities; ``None`` if the API tells only the label.

    Raises:
        ConfigError: not a JSONPath, or neither or both forms are given.
    """

    def __init__(
        self, class_names: Sequence[str], probabilities: str | None, labels: str | None, scores: str | None
    ) -> None:
        if (probabilities is None) == (labels is None):
            raise ConfigError("oracle: give either `probabilities` or `labels`, a JSONPath such as $.scores")
        self._names = {name: index for index, name in enumerate(class_names)}
        self._count = len(class_names)
        self._probabilities, self._labels, self._scores = map(_compiled, (probabilities, labels, scores))
        self.access: Access = "probabilities" if probabilities else "top_k" if scores else "labels"

    def read(self, body: str) -> np.ndarray | None:
        """One row, float64 (K,); ``None`` if the answer holds no usable prediction (an abstention).

        Raises:
            ValueError: not JSON, another number of classes, or an unknown label.
        """
        document = json.loads(body)
        if self._probabilities is not None:
            numbers = _numbers(_found(self._probabilities, document))
            if numbers is None:
                return None
            if len(numbers) != self._count:
                raise ValueError(f"{len(numbers)} probabilities in the answer, the dataset has {self._count} classes")
            return numbers
        labels = [self._index(label) for label in _found(self._labels, document)]
        if not labels:
            return None
        row = np.zeros(self._count)
        if self._scores is None:
            row[labels[0]] = 1.0
            return row
        numbers = _numbers(_found(self._scores, document))
        if numbers is None or len(numbers) != len(labels):
            return None
        row[labels] = numbers
        return row

    def _index(self, label: Any) -> int:
        if isinstance(label, str) and label in self._names:
            return self._names[label]
        try:
            index = int(label)
        except (TypeError, ValueError):
            index = -1
        if not 0 <= index < self._count:
            raise ValueError(f"label {label!r} in the answer is no class of the dataset ({', '.join(self._names)})")
        return index


def _compiled(path: str | None) -> Any:
    if path is None:
        return None
    try:
        return JsonPathParser().parse(path)
    except JSONPathError as error:
        raise ConfigError(f"oracle: {path!r} is not a JSONPath ({str(error).splitlines()[0]})") from None


def _found(path: Any, document: Any) -> list[Any]:
    values = [match.value for match in path.find(document)]
    return values[0] if len(values) == 1 and isinstance(values[0], list) else values


def _numbers(values: list[Any]) -> np.ndarray | None:
    try:
        numbers = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) and np.isfinite(numbers).all() and (numbers >= 0).all() else None
