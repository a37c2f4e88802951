"""Tables of the pages say what the rows say: whoever measures again prints the table again."""

from __future__ import annotations

import pytest

from benchmarks import ownership_tables
from tests.conftest import ROOT
from tests.docs.pages import PAGES


@pytest.mark.parametrize("rows", ["code", "peers", "real"])
def test_every_line_of_a_table_is_in_some_page(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    ownership_tables.main(results=ROOT / f"docs/results/{rows}.json")
    printed = {line.strip() for line in capsys.readouterr().out.splitlines()}
    shown = {line.strip() for page in PAGES for line in (ROOT / page).read_text().splitlines()}
    assert len(printed) > 10
    assert printed - shown == set()
