"""The documentation as a site: it builds without a warning, needs no network, and explains every parameter."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.site import page
from tests.conftest import ROOT, shell


def keys(section: dict[str, Any], *path: str) -> set[str]:
    """Dotted keys of values that are no mappings."""
    found: set[str] = set()
    for key, value in section.items():
        found |= keys(value, *path, key) if isinstance(value, dict) else {".".join((*path, key))}
    return found


def test_every_parameter_is_explained() -> None:
    text = (ROOT / "params.yaml").read_text()
    rows = dict(re.findall(r"^\| `([\w.-]+)` \| `[^`]+` \| ?(.*) \|$", page(text), flags=re.M))
    params = {key: value for key, value in yaml.safe_load(text).items() if key not in ("profiles", "shared")}
    lists = {"attacks.removals"}
    assert set(rows) == keys(params) - lists
    assert [key for key, about in rows.items() if len(about) < 5] == []


@pytest.mark.slow
def test_it_builds_and_needs_no_network(tmp_path: Path) -> None:
    said = shell(ROOT, "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site"), NO_MKDOCS_2_WARNING="1")
    assert "WARNING" not in said
    pages = list((tmp_path / "site").rglob("*.html"))
    assert {"index.html", "parameters.html", "reference.html"} <= {page.name for page in pages}
    for one in pages:
        loaded = re.findall(
            r'<(?:script|img|iframe)[^>]* src="(http[^"]+)"|<link[^>]* href="(http[^"]+)"', one.read_text()
        )
        assert not loaded, one
    assert "smallest p-value" in (tmp_path / "site/reference.html").read_text()
