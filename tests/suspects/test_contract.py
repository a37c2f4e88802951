"""What every registered kind of suspect promises."""

from __future__ import annotations

import dataclasses

import pytest

from sscl.compute import Compute
from sscl.errors import ConfigError
from sscl.parsing import parse
from sscl.suspects import ORACLES


@pytest.mark.parametrize("name", list(ORACLES))
def test_no_kind_takes_anothers_address(name: str) -> None:
    assert [kind for kind in ORACLES if ORACLES[kind].accepts(ORACLES[name].example)] == [name]


@pytest.mark.parametrize("name", list(ORACLES))
def test_settings_are_frozen_and_unknown_ones_are_refused(name: str, compute: Compute) -> None:
    options = ORACLES[name].Options
    assert dataclasses.is_dataclass(options)
    assert options.__dataclass_params__.frozen
    with pytest.raises(ConfigError, match=r"nonsense: unknown key; (known keys: \w|there are no settings here$)"):
        parse(options, {"nonsense": 1}, "oracle")
