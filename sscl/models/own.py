"""Networks of the user's own: a function ``module:function`` of the current folder, named in the configuration.

Only a configuration can register one. A model file that names one never causes an import.
"""

from __future__ import annotations

from torch import nn

from sscl.errors import ConfigError
from sscl.functions import function_named
from sscl.models.base import CLASSIFIERS


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
        layers = [module for module in found.modules() if isinstance(module, nn.Linear)]
        if not layers or layers[-1].out_features != classes or layers[-1].bias is None:
            raise ConfigError(f"{name}: its last linear layer must have {classes} outputs, one a class, and a bias")
        return found

    CLASSIFIERS.register(name)(built)
