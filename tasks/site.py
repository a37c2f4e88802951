"""A page of the documentation that is made from the code: every key of ``params.yaml`` with its default and meaning.

MkDocs loads this file by its path (``hooks`` in ``mkdocs.yml``), so it imports nothing of ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
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


@dataclass
class Section:
    """One section of the file, and its table's rows."""

    name: str
    about: str
    rows: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join([f"## {self.name}\n\n{self.about}\n\n| key | default | |\n|---|---|---|", *self.rows, ""])


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    text = (Path(config.config_file_path).parent / "params.yaml").read_text()
    files.append(File.generated(config, PAGE, content=page(text)))
    return files


def page(text: str) -> str:
    """Markdown with a table for each section of ``params.yaml``, without its profiles."""
    path, run = list[str](), Section("The run", "")
    sections = [run]
    for line in text.partition("\nshared:")[0].splitlines():
        found = LINE.fullmatch(line)
        if not found:
            continue
        depth, about = len(found["indent"]) // 2, found["about"] or ""
        path[depth:] = [found["key"]]
        if found["value"]:
            shown = about.replace("|", "\\|")
            (sections[-1] if depth else run).rows.append(f"| `{'.'.join(path)}` | `{found['value']}` | {shown} |")
        elif depth == 0:
            sections.append(Section(found["key"], about))
    return "\n".join([INTRODUCTION, *(section.text for section in sections)])
