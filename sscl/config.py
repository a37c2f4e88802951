"""The configuration: frozen dataclasses, one a section of ``params.yaml``. Loading them is in ``sscl.params``."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sscl.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # of datasets and recipients: a part of keys and paths
STARTS = ("scratch", "imagenet")  # what a training begins with, where that is no file
SIGNER = re.compile(r"[0-9a-f]{64}")


def require(condition: bool, key: str, value: object, expected: str) -> None:
    """Raise a ``ConfigError`` that names ``key`` unless ``condition`` holds."""
    if not condition:
        raise ConfigError(f"{key}: {value!r} is not possible, expected {expected}")


@dataclass(frozen=True)
class DataConfig:
    """Where the clean dataset comes from and which part of it is used."""

    source: str
    path: str | None
    image_size: int | None
    classes: int | None
    train_images: int | None
    test_images: int | None
    refused: Literal["stop", "drop"]
    groups: int | None = None

    def __post_init__(self) -> None:
        require(self.groups is None or self.groups >= 2, "groups", self.groups, "2 or more, or null for the labels")
        require(self.groups is None or self.classes is None, "classes", self.classes, "null where there are groups")
        for key in ("image_size", "classes", "train_images", "test_images"):
            value = getattr(self, key)
            require(value is None or value >= 1, key, value, "a positive whole number or null")


@dataclass(frozen=True)
class TrainConfig:
    """How a classifier is trained: the surrogate and the simulated user share this shape."""

    model: str
    epochs: int
    batch_size: int
    optimizer: Literal["adam", "sgd"]
    learning_rate: float
    weight_decay: float
    schedule: Literal["onecycle", "constant"]
    augment: str
    start: str = "scratch"
    learning: str = "supervised"
    downstream: Literal["linear", "full"] = "linear"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "a share in [0, 1)")
        files = self.start.endswith(".safetensors")
        require(files or self.start in STARTS, "start", self.start, f"{', '.join(STARTS)}, or a .safetensors file")
        require(self.epochs >= 0, "epochs", self.epochs, "0 or more")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "a positive number")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        plain = self.learning == "supervised" or self.downstream == "full" or not self.label_smoothing
        require(plain, "label_smoothing", self.label_smoothing, "0 where no network learns from labels")


@dataclass(frozen=True)
class GeneratorConfig:
    """Which watermark method makes the marks; ``options`` is that method's own frozen ``Options``."""

    method: str
    options: object


@dataclass(frozen=True)
class ImprintConfig:
    """How an encoder is made to answer to marks: SGD steps, and the weights of what must not change.

    Attributes:
        steps, batch_size, learning_rate: of the fine-tuning.
        keep: weight of the features of unmarked images.
        stray: weight of the features of images under marks that are nobody's.
    """

    steps: int
    batch_size: int
    learning_rate: float
    keep: float
    stray: float

    def __post_init__(self) -> None:
        require(self.steps >= 1, "steps", self.steps, "1 or more")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "a positive number")
        require(self.keep >= 0, "keep", self.keep, "0 or more")
        require(self.stray >= 0, "stray", self.stray, "0 or more")


@dataclass(frozen=True)
class EmbedConfig:
    """How much of the training set is marked."""

    rate: float
    rate_basis: Literal["dataset", "target_class"]

    def __post_init__(self) -> None:
        require(0 < self.rate <= 1, "rate", self.rate, "a share in (0, 1]")


@dataclass(frozen=True)
class IndependentConfig:
    """The other watermark of the Ind-W scenario: same method, another seed and target class (``None``: drawn)."""

    seed: int
    target_class: int | None


@dataclass(frozen=True)
class VerifyConfig:
    """The ownership test."""

    test: str
    tau: float
    alpha: float
    images: int | None

    def __post_init__(self) -> None:
        require(-1 < self.tau < 1, "tau", self.tau, "a difference of probabilities in (-1, 1)")
        require(0 < self.alpha < 1, "alpha", self.alpha, "a significance level in (0, 1)")
        require(self.images is None or self.images >= 2, "images", self.images, "2 or more, or null for all")


@dataclass(frozen=True)
class AuditConfig:
    """The audit of a suspicious model: what is committed to before the word is drawn."""

    test: Literal["exact", "sequential"]
    protects: Literal["dataset", "encoder"]
    statistic: str
    alpha: float
    least_effect: float
    images: int
    first_images: int
    version: str
    attempt: int
    signer: str | None = None

    def __post_init__(self) -> None:
        signer = self.signer
        require(signer is None or bool(SIGNER.fullmatch(signer)), "signer", signer, "an Ed25519 key, 64 hex digits")
        require(0 < self.alpha < 1, "alpha", self.alpha, "a significance level in (0, 1)")
        require(self.least_effect >= 0, "least_effect", self.least_effect, "0 or more")
        require(self.images >= 2, "images", self.images, "2 or more")
        if self.test == "sequential":
            require(2 <= self.first_images <= self.images, "first_images", self.first_images, "2 to images")
        require(bool(NAME.fullmatch(self.version)), "version", self.version, "letters, digits, dots and dashes")
        require(self.attempt >= 1, "attempt", self.attempt, "1 or more")


@dataclass(frozen=True)
class BeaconConfig:
    """The public randomness that the word is drawn with."""

    source: Literal["none", "drand", "nist"]
    delay_seconds: int
    pulse: str | None

    def __post_init__(self) -> None:
        require(self.delay_seconds >= 0, "delay_seconds", self.delay_seconds, "0 or more")


@dataclass(frozen=True)
class RehearsalConfig:
    """How long the models of a rehearsal are trained.

    Attributes:
        epochs: ``None``: the user's model is trained in full, on the rehearsed release. A number: two models are
            trained for so many epochs, on the rehearsed release and on clean images, and the gate compares them.
    """

    epochs: int | None

    def __post_init__(self) -> None:
        require(self.epochs is None or self.epochs >= 1, "epochs", self.epochs, "1 or more, or null for the user's")


@dataclass(frozen=True)
class AttackConfig:
    """One attempt to remove the watermark; ``strength`` is in the attack's own unit, ``None`` for its usual one."""

    name: str
    strength: float | None = None


@dataclass(frozen=True)
class AttacksConfig:
    """What the simulated stranger tries against the watermark, and the share of clean images that it has for it."""

    clean_share: float
    removals: tuple[AttackConfig, ...]

    def __post_init__(self) -> None:
        require(0 < self.clean_share <= 1, "clean_share", self.clean_share, "a share in (0, 1]")
        names = [attack.name for attack in self.removals]
        require(len(names) == len(set(names)), "removals", names, "each attack once")


@dataclass(frozen=True)
class PackageConfig:
    """How the released dataset is called, described and divided."""

    name: str
    title: str
    description: str
    licence: str
    licence_text: str
    creator: str
    url: str
    shard_images: int
    labels: bool = True

    def __post_init__(self) -> None:
        require(bool(NAME.fullmatch(self.name)), "name", self.name, "letters, digits, dots and dashes")
        require(self.shard_images >= 1, "shard_images", self.shard_images, "1 or more")


@dataclass(frozen=True)
class ReportConfig:
    """What the report shows."""

    grid_images: int
    amplify: float

    def __post_init__(self) -> None:
        require(1 <= self.grid_images <= 32, "grid_images", self.grid_images, "1 to 32")
        require(self.amplify > 0, "amplify", self.amplify, "a positive factor")


@dataclass(frozen=True)
class ComputeConfig:
    """Where and how tensors are computed. ``auto`` means: on where it is faster (``params.yaml`` says where)."""

    device: str
    threads: int | None
    bf16: bool | Literal["auto"]
    channels_last: bool
    compile: bool

    def __post_init__(self) -> None:
        require(self.threads is None or self.threads >= 1, "threads", self.threads, "1 or more, or null")


@dataclass(frozen=True)
class Config:
    """One run's whole configuration."""

    seed: int
    key_file: str | None
    target_class: int | None
    data: DataConfig
    surrogate: TrainConfig
    generator: GeneratorConfig
    imprint: ImprintConfig
    embed: EmbedConfig
    independent: IndependentConfig
    user: TrainConfig
    rehearsal: RehearsalConfig
    attacks: AttacksConfig
    verify: VerifyConfig
    audit: AuditConfig
    beacon: BeaconConfig
    package: PackageConfig
    report: ReportConfig
    compute: ComputeConfig

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require((self.target_class or 0) >= 0, "target_class", self.target_class, "a class index, or null to draw one")
        require(
            (self.independent.seed, self.independent.target_class) != (self.seed, self.target_class),
            "independent.seed",
            self.independent.seed,
            "another seed or target_class than the release's: it stands for another owner's watermark",
        )
        short = self.rehearsal.epochs
        require(
            short is None or short <= self.user.epochs,
            "rehearsal.epochs",
            short,
            f"at most user.epochs ({self.user.epochs}), or null: a longer training would learn more than any user's",
        )


def dump(config: Config) -> dict[str, Any]:
    """Plain mappings, as ``params.yaml`` has them: ``sscl.params.build`` is the inverse."""
    raw = asdict(config)
    generator = raw["generator"]
    raw["generator"] = {"method": generator["method"], generator["method"]: generator["options"]}
    return raw
