"""The queries of an audit, in order: images without a mark, then the same images under each mark.

No query depends on the word, so a suspect that answers otherwise after some time, or that watches for audits, cannot
treat the released word differently from another.
"""

from __future__ import annotations

from collections.abc import Callable

from sscl import progress
from sscl.audit.record import Record, Sent, parts
from sscl.config import AuditConfig
from sscl.suspects import Oracle
from sscl.types import BENIGN, nhwc


def ask(
    oracle: Oracle,
    sent: Sent,
    config: AuditConfig,
    *,
    record: Record,
    enough: Callable[[Record], bool] | None = None,
) -> None:
    """Send the queries; ``record`` has what was answered, also on errors.

    Args:
        sent: the images without a mark and under each mark. No word plays a part in them or in their order.
        record: a new one, with the images' classes.
        enough: whether the answers to the first images so far end the audit (``test: sequential``).

    Raises:
        SuspectError: answers that are none. SSCLError: the suspect does not answer any more, or the budget is spent.
    """
    count = len(sent[BENIGN])
    with progress.step("audit", count * len(sent)) as step:
        for first, last in parts(config, count):
            for mark in sorted(sent):
                array = nhwc(sent[mark][first:last])
                record.add(mark, first, array, oracle.query(array))
                step.advance(len(array))
                if enough and first == 0 and mark != BENIGN and enough(record):
                    return
