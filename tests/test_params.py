from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sscl.config import Config, dump
from sscl.errors import ConfigError
from sscl.params import build, load, overlay, read
from sscl.release.config import load_release
from tests.conftest import ROOT

PARAMS = ROOT / "params.yaml"
PROFILES = sorted(read(PARAMS)["profiles"])


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_loads_and_round_trips(profile: str) -> None:
    config = load(PARAMS, profile)
    assert build(yaml.safe_load(yaml.safe_dump(dump(config)))) == config


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_lists_every_section(profile: str) -> None:
    """DVC follows ``profiles.NAME.section`` by name, so a missing one would be an error there."""
    sections = {k for k, v in dump(load(PARAMS, profile)).items() if isinstance(v, dict)}
    assert set(read(PARAMS)["profiles"][profile]) - {"release"} == sections


def test_every_value_has_a_comment() -> None:
    values = re.findall(r"^\s*\w+: [^#{&*\n][^\n]*$", PARAMS.read_text(), flags=re.MULTILINE)
    assert len(values) > 80
    assert [value for value in values if " # " not in value] == []


@given(
    seed=st.integers(0, 2**31),
    tau=st.floats(-0.99, 0.99),
    rate=st.floats(0.001, 1),
    eps=st.integers(1, 255),
    images=st.none() | st.integers(2, 10_000),
)
def test_config_round_trip(seed: int, tau: float, rate: float, eps: int, images: int | None) -> None:
    raw = overlay(read(PARAMS), "demo", [f"seed={seed}", f"verify.tau={tau}", f"embed.rate={rate}"])
    raw["generator"]["ownership_code"]["eps"] = f"{eps}/255"
    raw["verify"]["images"] = images
    raw["independent"]["seed"] = seed + 1
    config = build(raw)
    assert config.generator.options.eps == eps / 255
    assert (config.seed, config.verify.tau, config.embed.rate) == (seed, tau, rate)
    assert build(yaml.safe_load(yaml.safe_dump(dump(config)))) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("verify.tua=0.3", "verify.tua: unknown key; did you mean 'tau'?"),
        ("verfy.tau=0.3", "verfy: unknown key; did you mean 'verify'?"),
        ("generator.sscl_bw.epz=0.1", "generator.sscl_bw.epz: unknown key; did you mean 'eps'?"),
        ("generator.sscl_bw.eps=0", "generator.sscl_bw.eps: 0.0 is not possible"),
        ("generator.sscl_bw.eps=1.5", "generator.sscl_bw.eps: 1.5 is not possible"),
        ("generator.sscl_bw.eps=a/b", "generator.sscl_bw.eps: expected a number or a fraction"),
        ("generator.sscl_bw.eps=.nan", "generator.sscl_bw.eps: expected a finite number"),
        ("generator.method=nothing", "generator.method: 'nothing' does not exist, choose one of"),
        ("verify.test=t", "verify.test: unknown verification test 't': choose one of binomial, mcnemar, paired_t"),
        ("audit.statistic=size", "audit.statistic: unknown statistic 'size': choose one of alignment,"),
        ("data.source=disk", "data.source: unknown data source 'disk': choose one of cifar10,"),
        ("surrogate.model=brain", "surrogate.model: unknown model 'brain': choose one of baseline_cnn,"),
        ("user.learning=rote", "user.learning: unknown learning method 'rote': choose one of barlow_twins,"),
        ("user.augment=views", "user.augment: unknown augmentation 'views': choose one of crop_flip,"),
        (
            "user.start=imagenet",
            "user.start: imagenet has no weights of baseline_cnn; expected model: eff",
        ),
        ("attacks.removals=[{name: scrubbing}]", "attacks.removals: unknown removal attack 'scrubbing': choose one of"),
        (
            "attacks.removals=[{name: fine_tuning, strength: 2.5}]",
            "attacks.removals: fine_tuning strength must be a whole number of epochs of at least 0, got 2.5",
        ),
        ("attacks.removals=[{name: query_jpeg}]", "attacks.removals: query_jpeg changes more than weights"),
        ("generator.ctrl.bins=[6]", "generator.ctrl.bins: expected 2 values, got [6]"),
        ("generator.ctrl.bins=[6, 7, 8]", "generator.ctrl.bins: expected 2 values, got [6, 7, 8]"),
        ("embed.rate=0", "embed.rate: 0.0 is not possible"),
        ("embed.rate_basis=class", "embed.rate_basis: 'class' is not one of"),
        ("surrogate.epochs=many", "surrogate.epochs: expected int, got 'many'"),
        ("surrogate.epochs=true", "surrogate.epochs: expected int, got True"),
        ("seed=-1", "seed: -1 is not possible"),
        ("target_class=-1", "target_class: -1 is not possible, expected a class index, or null to draw one"),
        ("verify.alpha=1", "verify.alpha: 1.0 is not possible"),
        ("data=7", "data: expected a section with keys, got 7"),
        ("nonsense", "--set nonsense: expected section.key=value"),
        ("compute.bf16=perhaps", "compute.bf16: expected true or false or 'auto', got 'perhaps'"),
        ("independent={seed: 0, target_class: null}", "independent.seed: 0 is not possible"),
    ],
)
def test_impossible_values_name_the_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(PARAMS, "demo", [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_profile_file_and_key(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="profile: 'mega' does not exist, choose one of cifar10, cifar10-contrastive, cifar"
    ):
        load(PARAMS, "mega")
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "params.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(broken)
    raw = overlay(read(PARAMS), "demo")
    del raw["verify"]["tau"]
    with pytest.raises(ConfigError, match=r"verify\.tau: missing"):
        build(raw)


def test_profile_then_override() -> None:
    config = load(PARAMS, "cifar10-small", ["user.epochs=1"])
    assert isinstance(config, Config)
    assert (config.user.model, config.user.epochs, config.user.optimizer) == ("resnet8", 1, "adam")


def test_a_profile_may_have_limits_of_its_own() -> None:
    assert load_release(PARAMS).limits.lpips == 0.5
    assert load_release(PARAMS, profile="cifar10-small").limits == replace(load_release(PARAMS).limits, lpips=0.01)
    assert load_release(PARAMS, ["release.limits.lpips=0.2"], "cifar10-small").limits.lpips == 0.2
    with pytest.raises(ConfigError, match="profile: 'cifar' does not exist, choose one of"):
        load_release(PARAMS, profile="cifar")
