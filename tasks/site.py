"""A page of the documentation that is made from the code: every key of ``params.yaml`` with its default and meaning.

MkDocs loads this file by its path (``hooks`` in ``mkdocs.yml``), so it imports nothing of ours.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGE = "parameters.md"
LINE = re.compile(r"(?P<indent> *)(?P<key>[\w-]+):(?: +(?P<value>[^#]*?))?(?: +# *(?P<about>.*))?")
INTRODUCTION = """# Parameters

`params.yaml` holds every parameter with its default, which is the `demo` profile's, and profiles that overlay it. This
page is made from that file. To set one for a run, use `--set section.key=value`. `sscl` refuses values that are not
possible, and says what it expected.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    text = (Path(config.config_file_path).parent / "params.yaml").read_text()
    files.append(File.generated(config, PAGE, content=page(text)))
    return files


def page(text: str) -> str:
    """Markdown with a table for each section of ``params.yaml``, up to its profiles."""
    parts, path, rows = [INTRODUCTION], list[str](), list[tuple[str, str, str]]()
    sections: list[tuple[str, str, list[tuple[str, str, str]]]] = [("The run", "", rows)]
    for line in text.partition("\nprofiles:")[0].splitlines():
        found = LINE.fullmatch(line)
        if not found:
            continue
        depth, about = len(found["indent"]) // 2, found["about"] or ""
        path[depth:] = [found["key"]]
        if found["value"]:
            rows = sections[-1][2] if depth else sections[0][2]
            rows.append((".".join(path), found["value"], about))
        elif depth == 0:
            sections.append((found["key"], about, []))
    for name, about, entries in sections:
        parts.append(f"## {name}\n\n{about}\n\n| key | default | |\n|---|---|---|")
        parts += [f"| `{key}` | `{value}` | {_escaped(what)} |" for key, value, what in entries]
        parts.append("")
    return "\n".join(parts)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
