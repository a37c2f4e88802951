"""``dvc.yaml`` from the table of stages: ``make pipeline`` writes it, and a test compares the two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sscl.layout import COMMITTED, PACKED
from sscl.params import read
from sscl.provenance import PACKAGE, modules_of
from sscl.stages.table import ABOUT, STAGES, Stage

HEAD = "# Generated from sscl/stages/table.py by `make pipeline`; what is after `plots:` is written by hand.\n"
PUBLIC = {COMMITTED, PACKED}  # outputs that strangers may see
KINDS = {"metrics": "metrics", "plots": "plots"}  # names of outputs that DVC has sections of their own for
VARIANT = "${item.variant}"


def render(path: Path, params: Path) -> str:
    """The file's new text; the plots of the one in ``path`` are kept."""
    overlays = set(read(params)["profiles"]["demo"])
    verbs = {stage.verb for stage in STAGES.values()}
    stages = {verb: _entry(verb, overlays) for verb in ABOUT if verb in verbs}
    plots = "plots:" + path.read_text().partition("\nplots:")[2]
    return HEAD + yaml.safe_dump({"stages": stages}, sort_keys=False, width=120) + "\n" + plots


def _entry(verb: str, overlays: set[str]) -> dict[str, Any]:
    """One stage of the file, or several that differ in paths alone."""
    members = [stage for stage in STAGES.values() if stage.verb == verb]
    if members[0].variant is None:
        return _body(members[0], f"sscl stage {verb} --out out", members[0].inputs, members[0].outputs, overlays)
    different = {
        name: {stage.variant: stage.inputs.get(name) for stage in members}
        for name in dict.fromkeys(name for stage in members for name in stage.inputs)
    }
    inputs, items = {}, {str(stage.variant): {"variant": str(stage.variant)} for stage in members}
    for name, paths in different.items():
        same = {path and path.replace(str(variant), VARIANT) for variant, path in paths.items()}
        if len(set(paths.values())) == 1:
            inputs[name] = str(next(iter(paths.values())))
        elif len(same) == 1:
            inputs[name] = str(same.pop())
        else:
            inputs[name] = f"${{item.{name}}}"
            for variant, path in paths.items():
                # A variant without this input depends once more on one that it has.
                items[str(variant)][name] = path or next(iter(members[0].inputs.values()))
    first = members[0]
    outputs = {name: path.replace(str(first.variant), VARIANT) for name, path in first.outputs.items()}
    body = _body(first, f"sscl stage {verb} {VARIANT} --out out", inputs, outputs, overlays)
    return {"foreach": items, "do": body}


def _body(
    stage: Stage, command: str, inputs: dict[str, str], outputs: dict[str, str], overlays: set[str]
) -> dict[str, Any]:
    params = ["profile"]
    for section in stage.sections:
        params += [section, f"profiles.${{profile}}.{section}"] if section in overlays else [section]
    body: dict[str, Any] = {
        "desc": ABOUT[stage.verb],
        "cmd": command,
        "deps": [*_code(stage), *dict.fromkeys(f"out/{path}" for path in inputs.values())],
        "params": params,
    }
    for name, path in outputs.items():
        remote = "public" if path in PUBLIC else "private"
        body.setdefault(KINDS.get(name, "outs"), []).append({f"out/{path}": {"remote": remote}})
    return body


def _code(stage: Stage) -> list[str]:
    """Modules that the stage runs; a folder stands for all of its modules."""
    needed = {path for path in modules_of(f"sscl.stages.{stage.verb}") if path != PACKAGE / "__init__.py"}

    def listed(folder: Path) -> list[Path]:
        inside = set(folder.rglob("*.py"))
        if folder != PACKAGE and inside <= needed:
            return [folder]
        found = [path for path in folder.glob("*.py") if path in needed]
        for child in folder.iterdir():
            if child.is_dir() and needed & set(child.rglob("*.py")):
                found += listed(child)
        return found

    return sorted(path.relative_to(PACKAGE.parent).as_posix() for path in listed(PACKAGE))


if __name__ == "__main__":
    file = Path("dvc.yaml")
    file.write_text(render(file, Path("params.yaml")))
