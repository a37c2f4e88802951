"""The exact test with all of the images, for an owner who has the secret and the suspect at hand."""

from __future__ import annotations

from dataclasses import replace

from sscl.audit.protocol import Record, ask
from sscl.audit.trial import References
from sscl.audit.verdict import Finding, decide
from sscl.config import AuditConfig
from sscl.suspects import Oracle
from sscl.types import ImageSet
from sscl.watermarks.base import State
from sscl.watermarks.ownership_code import OwnershipCode


def exact_finding(
    oracle: Oracle,
    watermark: OwnershipCode,
    state: State,
    *,
    images: ImageSet,
    audit: AuditConfig,
    references: References | None,
) -> Finding:
    """The exact test with all of the images."""
    fixed = replace(audit, test="exact")
    record = Record(images.classes, images.classes, images.labels.tolist())
    ask(oracle, watermark.queries(images.images, state), fixed, record=record)
    return decide(record, fixed, watermark.targets(state).numpy(), references=references)
