"""The one table of the pipeline: each stage's inputs, outputs and the sections of the config that it reads.

``dvc.yaml`` says the same for DVC, and a test holds the two together. Paths are relative to the output root.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from sscl.config import Config

EVERYTHING = tuple(field.name for field in fields(Config))
ROLES = ("release", "independent")  # our watermark, and a stranger's (Ind-W)
SCENARIOS = {  # suspicious model -> the dataset that it is trained on
    "malicious": "public/release",
    "independent_model": "clean",
    "independent_watermark": "public/independent",
}


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline.

    Attributes:
        name: unique; ``verb@variant`` where a verb has variants, as in DVC's matrix.
        sections: top-level keys of the config that the stage's function receives, in the order of its parameters.
        inputs, outputs: names of the function's path parameters to paths under the output root.
        gpu: whether it trains or runs networks (Prefect limits how many of these run at once).
    """

    name: str
    sections: tuple[str, ...]
    inputs: dict[str, str]
    outputs: dict[str, str]
    gpu: bool = True

    @property
    def verb(self) -> str:
        """The CLI verb, and the module in ``sscl.stages`` that holds the function ``run``."""
        return self.name.partition("@")[0]

    @property
    def variant(self) -> str | None:
        """The part after ``@``: a watermark's role or a scenario."""
        return self.name.partition("@")[2] or None


def _stages() -> list[Stage]:
    found = [
        Stage("prepare", ("data", "seed"), {}, {"out": "clean"}, gpu=False),
        Stage("surrogate", ("surrogate", "compute", "seed"), {"data": "clean"}, {"out": "private/surrogate"}),
    ]
    for role in ROLES:
        sections = ("generator", "target_class", "independent", "surrogate", "compute", "seed", "key_file")
        inputs = {"data": "clean", "surrogate_model": "private/surrogate"}
        found.append(Stage(f"generator@{role}", sections, inputs, {"out": f"private/generator/{role}"}))
        inputs = {"data": "clean", "generator": f"private/generator/{role}"}
        outputs = {"public": f"public/{role}", "private": f"private/watermark/{role}"}
        found.append(Stage(f"embed@{role}", ("embed", "compute", "seed", "key_file"), inputs, outputs))
    inputs = {"data": "clean", "watermark": "private/watermark/release"}
    outputs = {"public": "public/commitment", "private": "private/commitment"}
    found.append(Stage("commit", ("audit", "compute"), inputs, outputs))
    inputs = {"data": "public/release", "commitment": "public/commitment"}
    found.append(Stage("package", ("package",), inputs, {"out": "public/package"}, gpu=False))
    for scenario, data in SCENARIOS.items():
        found.append(
            Stage(f"simulate@{scenario}", ("user", "compute", "seed"), {"data": data}, {"out": f"models/{scenario}"})
        )
    inputs = {"data": "clean", "public": "public/release", "watermark": "private/watermark/release"}
    inputs |= {scenario: f"models/{scenario}" for scenario in SCENARIOS}
    found.append(Stage("verify", ("verify", "compute", "seed"), inputs, {"out": "verification"}))
    inputs = {"data": "clean", "watermark": "private/watermark/release"}
    for scenario in SCENARIOS:
        committed = {"commitment": "public/commitment", "opening": "private/commitment"}
        found.append(
            Stage(
                f"audit@{scenario}",
                ("compute",),
                {**inputs, **committed, "model": f"models/{scenario}"},
                {"out": f"private/audits/{scenario}"},
            )
        )
    inputs = {scenario: f"models/{scenario}" for scenario in SCENARIOS}
    inputs |= {f"audit_{scenario}": f"private/audits/{scenario}" for scenario in SCENARIOS}
    inputs |= {"data": "clean", "surrogate": "private/surrogate", "generator": "private/generator/release"}
    inputs |= {"verification": "verification"}
    outputs = {"out": "report", "metrics": "metrics.json", "plots": "plots"}
    found.append(Stage("report", EVERYTHING, inputs, outputs, gpu=False))
    return found


STAGES: dict[str, Stage] = {stage.name: stage for stage in _stages()}
