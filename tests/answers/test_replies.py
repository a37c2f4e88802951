"""What is read from an API's replies; the HTTP client's tests have the rest."""

from __future__ import annotations

import pytest

from sscl.answers.replies import Reader, Reading


@pytest.mark.parametrize("depth", [*range(880, 1010, 3), 100_000])
def test_a_nested_reply_is_no_answer_however_deep(depth: int) -> None:
    """The defect: between what JSON parses and what it writes, one depth ended an audit with a traceback."""
    reader = Reader(("a", "b"), Reading("$.x"))
    with pytest.raises(ValueError, match=r"nothing at|not JSON|nested too deeply"):
        reader.read("[" * depth + "]" * depth)
