"""What README and docs show: pages, their blocks of commands, and what stands for a reader's own things."""

from __future__ import annotations

import re

from tests.conftest import ROOT

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
PROGRAMS = ("sscl", "python", "dvc", "make", "prefect", "git", "source", "export")
PLACES = {"FILE", "DIR", "NAME", "STAGE", "URL-OF-THE-REPOSITORY"}  # what a reader puts in


def blocks(page: str) -> list[str]:
    """The fenced blocks of a page that are commands."""
    found = re.findall(r"^```\w*\n(.*?)^```", (ROOT / page).read_text(), flags=re.S | re.M)
    return [block for block in found if re.match(rf"({'|'.join(PROGRAMS)}) (?! )", block)]


def inline(page: str) -> list[str]:
    """Commands within the text of a page, and indented ones, which are not run."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.S | re.M)
    codes = [*re.findall(r"`([^`]+)`", text), *re.findall(r"^    (\S.*?)(?: #.*)?$", text, flags=re.M)]
    found = (" ".join(code.split()).removeprefix("time ") for code in codes)
    return [code for code in found if re.match(rf"({'|'.join(PROGRAMS)}) ", code)]


# What stands for a reader's own thing -> what is there in this test. Port numbers are filled in.
STAND_INS = {
    "source .venv/bin/activate": "test -f .venv/bin/activate",  # its scripts are on the path already
    "127.0.0.1:4200": "127.0.0.1:{prefect}",
    "prefect server start": "true",  # it runs already
    "http://host/predict": "http://127.0.0.1:{suspect}/predict",
    "--oracle api.yaml": "--oracle examples/api.yaml",
    "5555": "{moto}",
    "model.onnx": "out/models/malicious/model.safetensors",
    "\nsscl serve\n": "\nsscl serve &\nuntil prefect deployment inspect release/release; do sleep 1; done &> log\n",
    "prefect worker start --pool sscl": "prefect worker start --pool sscl --run-once",
    "--runner dask --workers 8": "--runner thread --workers 2",
    "--runner dask --workers 2": "--runner thread --workers 2",
    "URL-OF-THE-REPOSITORY": "$PWD",
    "git commit": "git -c user.name=t -c user.email=t@example.org commit",
    "--rev v1.0.0": "--rev v1.0.0 -o consumed",
}
RUN_BY_CI = {("README.md", 0)}  # make demo, make test
WALK_THROUGH = ("docs/release.md", 0)
ALSO = {  # what another clone sees of the release of the walk-through
    WALK_THROUGH: """
mkdir stranger; cp -r .venv params.yaml stranger; cd stranger
sscl release list --from s3://public-datasets/releases
sscl release pull mnist-protected 1.0.0 --from s3://public-datasets/releases --out got
sscl release verify --folder got; (cd got && sha256sum --quiet -c SHA256SUMS)
""",
}


def talks_to_prefect(page: str, number: int) -> bool:
    """The walk-through starts a server of its own, as a newcomer's does."""
    talks = re.search(r"prefect|flows\.|sscl serve", blocks(page)[number])
    return talks is not None and (page, number) != WALK_THROUGH


def kept(*, talking: bool) -> list[tuple[str, int]]:
    """Pages with the numbers of their blocks, of those that talk to Prefect's server or of the others."""
    found = [(page, n) for page in PAGES for n in range(len(blocks(page))) if (page, n) not in RUN_BY_CI]
    return [block for block in found if talks_to_prefect(*block) == talking]
