"""Networks of the user's own: a function ``module:function`` of the current folder, named in the configuration.

Only a configuration can register one. A model file that names one never causes an import.
"""

from __future__ import annotations

from contextlib import suppress

from torch import nn

from sscl.errors import ConfigError
from sscl.functions import function_named
from sscl.models.base import CLASSIFIERS
from sscl.models.features import last_linear


def know(name: str) -> None:
    """Register the network that a configuration names, unless it is registered already.

    The function takes channels, size in pixels and number of classes, and returns a ``torch.nn.Module`` that maps
    float (N, channels, size, size) in [0, 1] to logits (N, classes). The inputs of its last linear layer are its
    features.

    Raises:
        InputError: there is no such function.
    """
    if name in CLASSIFIERS:
        return
    function = function_named(name)

    def built(channels: int, size: int, classes: int) -> nn.Module:
        found = function(channels, size, classes)
        if not isinstance(found, nn.Module):
            raise ConfigError(f"{name}: returned {type(found).__name__}, expected a torch.nn.Module")
        with suppress(ValueError):  # it has no linear layer
            last = last_linear(found)
            if last.out_features == classes and last.bias is not None:
                return found
        raise ConfigError(f"{name}: its last linear layer must have {classes} outputs, one a class, and a bias")

    CLASSIFIERS.register(name)(built)
