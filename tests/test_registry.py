from __future__ import annotations

import pytest

from sscl.errors import ConfigError
from sscl.registry import Registry


def test_register_look_up_and_refuse() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("one")(1)
    assert registry["one"] == 1
    assert "one" in registry
    assert list(registry) == ["one"]
    with pytest.raises(ValueError, match="number 'one' is registered twice"):
        registry.register("one")(2)
    with pytest.raises(ConfigError, match="unknown number 'two': choose one of one"):
        registry["two"]
