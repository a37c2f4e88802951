"""The table of stages, ``dvc.yaml`` and the imports say the same, and the rooms keep their order."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sscl.errors import InputError
from sscl.provenance import PACKAGE, modules_of
from sscl.stages.table import STAGES
from tasks.dvcfile import PROJECTS, Project, render
from tasks.pipeline import Pipeline
from tests.conftest import ROOT, shell

DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.folder or "checkout")
def test_dvc_yaml_is_what_the_table_says(project: Project) -> None:
    """`make pipeline` writes both."""
    assert (ROOT / project.folder / "dvc.yaml").read_text() == render(project, ROOT)


def dvcs_own() -> dict[str, Any]:
    """Every stage as DVC reads it, an independent reader of the file."""
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        return {stage.addressing: stage for stage in repo.index.stages}


@pytest.mark.slow
def test_dvc_reads_the_same_stages_from_it() -> None:
    from dvc.dependency import ParamsDependency

    found = dvcs_own()
    assert set(found) == {*STAGES, "code"}
    for name, stage in STAGES.items():
        variant = f" {stage.variant}" if stage.variant else ""
        assert found[name].cmd == f"sscl stage {stage.verb}{variant} --out out"
        assert {out.def_path for out in found[name].outs} == {f"out/{path}" for path in stage.outputs.values()}
        needed = {f"out/{path}" for path in stage.inputs.values()} | {f"out/code/{stage.verb}"}
        assert {dep.def_path for dep in found[name].deps if not isinstance(dep, ParamsDependency)} == needed


def test_curves_that_dvc_shows_are_there() -> None:
    """`dvc plots show` leaves out what is missing without a word."""
    for plot in yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]:
        if isinstance(plot, str):
            assert list((ROOT / plot).glob("*.svg"))
            continue
        ((_, curves),) = plot.items()
        for path, columns in curves["y"].items():
            if path.startswith("docs/"):
                header = (ROOT / path).read_text().partition("\n")[0].split(",")
                assert {curves["x"], *columns} <= set(header)


def test_only_what_may_be_published_goes_to_the_public_remote() -> None:
    """Every output names its remote: `dvc push -r public` then leaves the others alone."""
    remotes = {}
    for entry in DVC.values():
        body = entry.get("do", entry)
        for output in [output for kind in ("outs", "metrics", "plots") for output in body.get(kind, [])]:
            ((path, options),) = output.items()
            remotes[path] = options["remote"]
    assert set(remotes.values()) == {"public", "private"}
    assert [path for path, remote in remotes.items() if remote == "public"] == [
        "out/public/commitment",
        "out/public/package",
    ]


# Imports what is not ours once, then every stage in a fork of its own.
LOADED = """
import importlib, os, sys
import lpips, pandas, pyarrow.parquet, scipy.stats, sklearn.metrics, torch
for verb in sys.argv[1:]:
    if os.fork() == 0:
        importlib.import_module(f"sscl.stages.{verb}")
        files = [m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "sscl" and m.__file__]
        print(verb, *files, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, verb
"""


@pytest.mark.slow
def test_the_static_closure_covers_what_python_loads() -> None:
    """An independent view: import every stage for real and look at ``sys.modules``."""
    verbs = sorted({stage.verb for stage in STAGES.values()})
    command = [sys.executable, "-c", LOADED, *verbs]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    lines = [line.split() for line in printed.splitlines()]
    assert [verb for verb, *_ in lines] == verbs
    for verb, *files in lines:
        assert {Path(file) for file in files} - {PACKAGE / "__init__.py"} <= modules_of(f"sscl.stages.{verb}"), verb
        assert PACKAGE / f"stages/{verb}.py" in map(Path, files)


@pytest.mark.parametrize(("stage", "page"), [("report", "page.html"), ("encoder_report", "encoder.html")])
def test_an_edit_of_a_page_is_an_edit_of_its_stage(stage: str, page: str) -> None:
    assert PACKAGE / "report" / page in modules_of(f"sscl.stages.{stage}")
    assert not [path for path in modules_of("sscl.stages.prepare") if path.suffix != ".py"]


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name.partition(".")[0] for name in found}


def test_the_library_knows_neither_driver() -> None:
    for path in PACKAGE.rglob("*.py"):
        forbidden = imported(path) & {"prefect", "dvc", "tasks", "flows"}
        assert not forbidden, f"{path} imports {forbidden}"


# Room -> rooms that it may not import.
APART = {
    "statistics": {"attacks", "audit", "benchmark", "cli", "data", "models", "release", "report", "stages", "suspects"},
    "suspects": {"attacks", "audit", "benchmark", "cli", "release", "report", "stages"},
    "audit": {"attacks", "benchmark", "cli", "release", "report", "stages"},
    "watermarks": {"attacks", "audit", "benchmark", "cli", "release", "report", "stages"},
    "release": {"benchmark", "cli", "report"},
}
# Rooms that a stage or the checker of evidence can do without: changes there make none of its results stale, and who
# has to trust the checker need not read them.
NOT_NEEDED = {
    "audit.check": {"attacks", "learning", "models", "perceptual", "suspects", "train", "watermarks"},
    "stages.report": {"attacks", "audit", "learning", "models", "sandbox", "suspects", "train", "watermarks"},
    "stages.embed": {"sandbox", "suspects"},
    "stages.rehearse": {"audit", "sandbox", "suspects"},
}
SANDBOX = {"sandbox", "errors", "registry"}  # all that its process loads of ours: it starts in a tenth of a second


@pytest.mark.parametrize("room", APART)
def test_rooms_keep_their_order(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        modules = re.findall(r"^\s*(?:from|import) sscl\.(\w+)", path.read_text(), flags=re.M)
        assert not set(modules) & APART[room], path


@pytest.mark.parametrize("module", NOT_NEEDED)
def test_results_rest_on_no_more_code_than_they_need(module: str) -> None:
    rooms = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in modules_of(f"sscl.{module}")}
    assert not rooms & NOT_NEEDED[module]


def test_no_stage_is_another_stages_library() -> None:
    for path in (PACKAGE / "stages").glob("*.py"):
        modules = set(re.findall(r"^from sscl\.stages\.(\w+)", path.read_text(), flags=re.M))
        assert modules <= {"table"}, path


def test_the_sandbox_stands_alone() -> None:
    for path in (PACKAGE / "sandbox").rglob("*.py"):
        modules = re.findall(r"^\s*(?:from|import) sscl\.(\w+)", path.read_text(), flags=re.M)
        assert set(modules) <= SANDBOX, path


def test_tasks_do_not_know_flows() -> None:
    for path in (ROOT / "tasks").glob("*.py"):
        assert "flows" not in imported(path), path


def test_nothing_rests_on_dvcs_modules() -> None:
    """Its files and its command line are documented."""
    assert not [p for room in ("tasks", "flows") for p in (ROOT / room).glob("*.py") if "dvc" in imported(p)]


def test_stages_come_in_an_order_that_works() -> None:
    made: set[str] = set()
    for stage in STAGES.values():
        assert set(stage.inputs.values()) <= made
        made |= set(stage.outputs.values())


def test_public_and_private_never_share_a_directory() -> None:
    paths = [p for stage in STAGES.values() for p in stage.outputs.values()]
    public = [p for p in paths if p.startswith("public/")]
    private = [p for p in paths if p.startswith("private/")]
    assert len(public) == 4
    assert len(private) == 11
    assert not {p.partition("/")[0] for p in public} & {p.partition("/")[0] for p in private}


def test_a_checkout_without_git_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(InputError, match=r"no git repository.*`git init`, or `dvc config core\.no_scm true`"):
        Pipeline(tmp_path)
    shell(tmp_path, "dvc", "config", "core.no_scm", "true")
    Pipeline(tmp_path)
