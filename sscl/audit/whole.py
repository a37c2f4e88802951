"""The exact test with all of the images, for an owner who has the secret and the suspect at hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sscl.audit.protocol import ask
from sscl.audit.questions import Questions
from sscl.audit.record import Record
from sscl.audit.references import References
from sscl.audit.verdict import Finding, decide
from sscl.config import AuditConfig
from sscl.suspects import Oracle


def exact_finding(
    oracle: Oracle,
    questions: Questions,
    word: np.ndarray,
    *,
    audit: AuditConfig,
    references: References | None,
) -> Finding:
    """The exact test with all of the images."""
    fixed = replace(audit, test="exact")
    groups = questions.images.classes
    record = Record(groups, groups, questions.images.labels.tolist())
    ask(oracle, questions.sent, fixed, record=record)
    return decide(record, fixed, word, references=references)
