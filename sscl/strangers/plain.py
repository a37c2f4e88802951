"""The release as it is: what the others are compared with."""

from __future__ import annotations

from sscl.models import Classifier
from sscl.strangers.base import STRANGERS, Stranger, Workplace


class Plain(Stranger):
    """Trained on the release as it is."""

    def model(self, workplace: Workplace) -> Classifier:
        return workplace.usual


STRANGERS.register("plain")(Plain())
