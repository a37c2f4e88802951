"""Both ``dvc.yaml`` from the tables of stages: ``make pipeline`` writes them, and a test compares.

The pipeline that protects a dataset is the checkout's own; the one that protects an encoder is a DVC project in the
folder ``encoder``, so that ``dvc repro`` and ``dvc pull`` of either leave the other alone.

The first stage, ``code``, is DVC's alone. It digests the modules that each other stage runs, and these depend on their
digest: DVC starts after an edit only what the edit concerns, and ``dvc.lock`` has one line for it instead of forty.
``.dvcignore`` does not reach above ``encoder``, so there ``code`` also runs when a compiled module changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sscl.layout import CODE, COMMITTED, PACKED
from sscl.params import read
from sscl.provenance import PACKAGE
from sscl.stages.table import ABOUT, ENCODER, STAGES, Stage

HEAD = "# Generated from sscl/stages/table.py by `make pipeline`; what is after `plots:` is written by hand.\n"
PUBLIC = {COMMITTED, PACKED}  # outputs that strangers may see
KINDS = {"metrics": "metrics", "plots": "plots"}  # names of outputs that DVC has sections of their own for
VARIANT = "${item.variant}"


@dataclass(frozen=True)
class Project:
    """A DVC project of a checkout.

    Attributes:
        folder: where its ``dvc.yaml`` is; empty for the checkout itself.
        stages: its table.
    """

    folder: str
    stages: dict[str, Stage]

    @property
    def above(self) -> str:
        """The way from the folder to the checkout."""
        return "../" if self.folder else ""

    @property
    def command(self) -> str:
        """What runs a stage, up to its name."""
        return "cd .. && sscl stage" if self.folder else "sscl stage"

    @property
    def options(self) -> str:
        """What it is told, after its name."""
        return f"--out {self.out} --encoder" if self.folder else f"--out {self.out}"

    @property
    def out(self) -> str:
        """The output root, from the checkout."""
        return f"{self.folder}/out" if self.folder else "out"


PROJECTS = (Project("", STAGES), Project("encoder", ENCODER))


def render(project: Project, root: Path) -> str:
    """The text of a project's ``dvc.yaml`` in the checkout ``root``; the plots of the one that is there are kept."""
    overlays = set(read(root / "params.yaml")["profiles"]["demo"])
    verbs = {stage.verb for stage in project.stages.values()}
    stages: dict[str, Any] = {CODE: _code(project)}
    stages |= {verb: _entry(project, verb, overlays) for verb in ABOUT if verb in verbs}
    variables = {"vars": [f"{project.above}params.yaml"]} if project.folder else {}
    path = root / project.folder / "dvc.yaml"
    plots = path.read_text().partition("\nplots:")[2] if path.is_file() else ""
    text = yaml.safe_dump(variables | {"stages": stages}, sort_keys=False, width=120)
    return HEAD + text + (f"\nplots:{plots}" if plots else "")


def _entry(project: Project, verb: str, overlays: set[str]) -> dict[str, Any]:
    """One stage of the file, or several that differ in paths alone."""
    members = [stage for stage in project.stages.values() if stage.verb == verb]
    command = f"{project.command} {verb}"
    if len(members) == 1:
        (only,) = members
        named = f"{command} {only.variant}" if only.variant else command
        return _body(
            project, only, f"{named} {project.options}", inputs=only.inputs, outputs=only.outputs, overlays=overlays
        )
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
    body = _body(
        project, first, f"{command} {VARIANT} {project.options}", inputs=inputs, outputs=outputs, overlays=overlays
    )
    return {"foreach": items, "do": body}


def _body(
    project: Project, stage: Stage, command: str, *, inputs: dict[str, str], outputs: dict[str, str], overlays: set[str]
) -> dict[str, Any]:
    params: list[Any] = ["profile"]
    for section in stage.sections:
        params += [section, f"profiles.${{profile}}.{section}"] if section in overlays else [section]
    body: dict[str, Any] = {
        "desc": ABOUT[stage.verb],
        "cmd": command,
        "deps": [f"out/{CODE}/{stage.verb}", *dict.fromkeys(f"out/{path}" for path in inputs.values())],
        "params": [{f"{project.above}params.yaml": params}] if project.folder else params,
    }
    for name, path in outputs.items():
        kept: dict[str, Any] = {"remote": "public" if path in PUBLIC else "private"}
        # DVC would remove what is there: what the flow made without it, and a commitment, whose stage refuses to.
        kept |= {"persist": True} if project.folder or stage.irrevocable else {}
        body.setdefault(KINDS.get(name, "outs"), []).append({f"out/{path}": kept})
    return body


def _code(project: Project) -> dict[str, Any]:
    return {
        "desc": "Note which code each stage runs.",
        "cmd": f"{project.command} {CODE} --out {project.out}",
        "deps": [f"{project.above}{PACKAGE.name}"],
        "outs": [{f"out/{CODE}": {"remote": "private"}}],
    }


if __name__ == "__main__":
    for one in PROJECTS:
        (Path(one.folder) / "dvc.yaml").write_text(render(one, Path()))
