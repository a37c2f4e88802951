"""Tables of the pages say what the rows say, line for line: whoever measures again prints the table again."""

from __future__ import annotations

from itertools import groupby

import pytest

from benchmarks import ownership_tables
from tests.conftest import ROOT


def tables(text: str) -> set[str]:
    """Runs of lines that are rows of a table."""
    runs = groupby(text.splitlines(), key=lambda line: line.startswith("|"))
    return {"\n".join(lines) for is_table, lines in runs if is_table}


@pytest.mark.parametrize("rows", ["code", "peers", "real"])
def test_every_table_is_in_some_page(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    ownership_tables.main(results=ROOT / f"docs/results/{rows}.json")
    printed = tables(capsys.readouterr().out)
    shown = set[str]().union(*(tables(page.read_text()) for page in (ROOT / "docs").glob("*.md")))
    assert printed
    assert printed - shown == set()
