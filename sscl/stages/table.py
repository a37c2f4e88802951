"""The one table of the pipeline: each stage's inputs, outputs and the sections of the config that it reads.

``dvc.yaml`` says the same for DVC, and a test holds the two together. Paths are relative to the output root.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from sscl.config import Config
from sscl.layout import (
    CLEAN,
    COMMITTED,
    ENCODER_METRICS,
    ENCODER_REPORT,
    IMPRINTED,
    LICENSED,
    MARKS,
    METRICS,
    OPENED,
    PACKED,
    REHEARSAL,
    RELEASED,
    REPORT,
    SURROGATE,
    WATERMARK,
)

EVERYTHING = tuple(field.name for field in fields(Config))
ROLES = ("release", "independent")  # our watermark, and another owner's (Ind-W)
SCENARIOS = {  # suspicious model -> the dataset that it is trained on
    "malicious": RELEASED,
    "independent_model": "clean",
    "independent_watermark": "public/independent",
}
ABOUT = {  # verb -> what it does, in help texts and dvc.yaml
    "prepare": "Validate a dataset and write it once, clean and named by its content.",
    "surrogate": "Train the owner's classifier on clean data.",
    "generator": "Make the marks, ours (release) or another owner's (independent).",
    "rehearse": "Release under a throw-away word and train on that; the quality gate looks at this alone.",
    "commit": "Fix marks, images, references and test before the word is drawn; publish a hash.",
    "embed": "Draw the word, and mark a share of the dataset: the released set and the owner's secret.",
    "package": "Write the released set as shards, card and checksums: what strangers get.",
    "simulate": "Train a stranger's model on a marked or clean set.",
    "attack": "Try to remove the watermark from the model trained on the release.",
    "verify": "Query every model and run the published test.",
    "audit": "Run the committed exact test on a scenario's model, with evidence.",
    "report": "Write metrics.json, plots and the HTML report.",
    "imprint": "Draw the word, and imprint it on the owner's encoder.",
    "adopt": "Build a stranger's classifier on the encoder.",
    "encoder_report": "Write encoder_metrics.json and the HTML report on an encoder.",
}
DOWNSTREAM = ("linear", "full", "pruning", "never_imprinted")  # what strangers build on an encoder, and one on another
ATTACKED = "models/attacked"  # the malicious model after each removal attack


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline.

    Attributes:
        name: unique; ``verb@variant`` where a verb has variants, as in DVC's matrix.
        sections: top-level keys of the config that the stage's function receives, by its parameters' names.
        inputs, outputs: names of the function's path parameters to paths under the output root.
        gpu: whether it trains or runs networks (Prefect limits how many of these run at once).
        stamped: whether it also reads the time stamp of the commitment, where there is one.
        irrevocable: whether its outputs bind an owner who has a key: what is there is not replaced.
    """

    name: str
    sections: tuple[str, ...]
    inputs: dict[str, str]
    outputs: dict[str, str]
    gpu: bool = True
    stamped: bool = False
    irrevocable: bool = False

    @property
    def verb(self) -> str:
        """The CLI verb, and the module in ``sscl.stages`` that holds the function ``run``."""
        return self.name.partition("@")[0]

    @property
    def variant(self) -> str | None:
        """The part after ``@``: a watermark's role or a scenario."""
        return self.name.partition("@")[2] or None


SECRETS = ("seed", "key_file")
BOUND = {"commitment": COMMITTED, "opening": OPENED}  # what holds an audit or a word to the commitment


def _stages() -> list[Stage]:
    clean = {"data": CLEAN}
    found = [
        Stage("prepare", ("data", "seed"), {}, {"out": CLEAN}, gpu=False),
        Stage("surrogate", ("surrogate", "compute", "seed"), clean, {"out": SURROGATE}),
    ]
    sections: tuple[str, ...]
    for role in ROLES:
        sections = ("generator", "target_class", "independent", "surrogate", "compute", *SECRETS)
        inputs = {**clean, "surrogate_model": SURROGATE}
        found.append(Stage(f"generator@{role}", sections, inputs, {"out": f"private/generator/{role}"}))
    ours = {**clean, "generator": MARKS}
    found.append(Stage("rehearse", ("embed", "user", "rehearsal", "compute", *SECRETS), ours, {"out": REHEARSAL}))
    inputs = {**ours, "reference": SURROGATE}
    outputs = {"public": COMMITTED, "private": OPENED}
    found.append(Stage("commit", ("audit", "beacon", "compute", *SECRETS), inputs, outputs, irrevocable=True))
    for role in ROLES:
        inputs = {**clean, "generator": f"private/generator/{role}", **(BOUND if role == "release" else {})}
        outputs = {"public": f"public/{role}", "private": f"private/watermark/{role}"}
        sections = ("embed", "beacon", "independent", "compute", *SECRETS)
        found.append(Stage(f"embed@{role}", sections, inputs, outputs))
    inputs = {"data": RELEASED, "commitment": COMMITTED}
    found.append(Stage("package", ("package",), inputs, {"out": PACKED}, gpu=False, stamped=True))
    for scenario, data in SCENARIOS.items():
        found.append(
            Stage(f"simulate@{scenario}", ("user", "compute", "seed"), {"data": data}, {"out": f"models/{scenario}"})
        )
    inputs = {**clean, "release": RELEASED, "model": "models/malicious"}
    found.append(Stage("attack", ("attacks", "user", "compute", "seed"), inputs, {"out": ATTACKED}))
    suspects = {scenario: f"models/{scenario}" for scenario in SCENARIOS} | {"attacked": ATTACKED}
    inputs = {**clean, "watermark": WATERMARK, "public": RELEASED, **suspects}
    found.append(Stage("verify", ("verify", "compute", "seed"), inputs, {"out": "verification"}))
    for suspect, model in suspects.items():
        inputs = {"watermark": WATERMARK, **BOUND, "model": model}
        outputs = {"out": f"private/audits/{suspect}"}
        found.append(Stage(f"audit@{suspect}", ("compute",), inputs, outputs, stamped=True))
    inputs = {scenario: f"models/{scenario}" for scenario in SCENARIOS}
    inputs |= {f"audit_{suspect}": f"private/audits/{suspect}" for suspect in suspects}
    inputs |= {**clean, "surrogate": SURROGATE, "generator": MARKS}
    inputs |= {"verification": "verification", "rehearsal": REHEARSAL}
    outputs = {"out": REPORT, "metrics": METRICS, "plots": "plots"}
    found.append(Stage("report", EVERYTHING, inputs, outputs, gpu=False))
    return found


def _encoder_stages() -> list[Stage]:
    """What protects an encoder: marks and commitment as for a dataset, and then a word in the encoder's weights."""
    found = [STAGES[name] for name in ("prepare", "surrogate", "generator@release", "commit")]
    clean = {"data": CLEAN}
    inputs = {**clean, "encoder": SURROGATE, "generator": MARKS, **BOUND}
    outputs = {"public": LICENSED, "private": IMPRINTED}
    found.append(Stage("imprint", ("imprint", "beacon", "compute", *SECRETS), inputs, outputs))
    for variant in DOWNSTREAM:
        inputs = clean | ({} if variant == "never_imprinted" else {"encoder": LICENSED})
        found.append(Stage(f"adopt@{variant}", ("user", "compute", "seed"), inputs, {"out": f"models/{variant}"}))
    for variant in DOWNSTREAM:
        inputs = {"watermark": IMPRINTED, **BOUND, "model": f"models/{variant}"}
        outputs = {"out": f"private/audits/{variant}"}
        found.append(Stage(f"audit@{variant}", ("compute",), inputs, outputs, stamped=True))
    inputs = {**clean, "surrogate": SURROGATE, "encoder": LICENSED, "watermark": IMPRINTED}
    inputs |= {f"model_{variant}": f"models/{variant}" for variant in DOWNSTREAM}
    inputs |= {f"audit_{variant}": f"private/audits/{variant}" for variant in DOWNSTREAM}
    outputs = {"out": ENCODER_REPORT, "metrics": ENCODER_METRICS}
    found.append(Stage("encoder_report", EVERYTHING, inputs, outputs))
    return found


def variants(verb: str) -> tuple[str, ...]:
    """The variants of a verb in both pipelines, in order; none where it is one stage."""
    return tuple(stage.variant for stage in ALL.values() if stage.verb == verb and stage.variant)


STAGES: dict[str, Stage] = {stage.name: stage for stage in _stages()}  # the pipeline that protects a dataset
ENCODER: dict[str, Stage] = {stage.name: stage for stage in _encoder_stages()}  # the one that protects an encoder
PIPELINES = {"dataset": STAGES, "encoder": ENCODER}  # by what `audit.protects` says
ALL: dict[str, Stage] = {**STAGES, **ENCODER}
