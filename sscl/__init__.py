"""Prove that a model was trained on your images, by queries alone.

The whole pipeline from Python, as ``sscl run``, ``sscl audit`` and ``sscl check`` do it::

    from pathlib import Path
    import sscl

    config = sscl.load_config(profile="demo")
    sscl.run_all(config, Path("runs/first"))
    finding, record = sscl.audit_suspect("model.onnx", Path("runs/first"), config.compute, bundle=Path("audit.zip"))
    assert sscl.check(Path("audit.zip")) == []

The test by itself, from a model's answers to images without a mark and under each mark:

>>> import numpy as np, sscl
>>> rng = np.random.default_rng(0)
>>> word, groups = np.array([2, 0, 1]), np.arange(30) % 3
>>> benign = sscl.Responses.of_labels(groups, 3)
>>> marked = [sscl.Responses.of_labels(np.full(30, group), 3) for group in word]  # every mark works
>>> sscl.p_value(sscl.effects(benign, marked, groups, 3), word, rng)  # one of six words fits as well
0.16666666666666666
>>> sscl.smallest_p(marks=7, groups=10)
1.6534391534391535e-06
>>> sscl.marks_needed(groups=10, alpha=1e-4)
5

Everything here is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sscl.audit.check import check
    from sscl.audit.session import audit_suspect
    from sscl.params import load as load_config
    from sscl.runner import run_all
    from sscl.statistics.alignment import alignments
    from sscl.statistics.attraction import attractions
    from sscl.statistics.effects import effects, less_reference
    from sscl.statistics.exact import p_value
    from sscl.statistics.tracing import trace
    from sscl.statistics.words import floor as smallest_p
    from sscl.statistics.words import marks_needed
    from sscl.types import ImageSet, Responses

__version__ = "0.1.0"
__all__ = [
    "ImageSet",
    "Responses",
    "alignments",
    "attractions",
    "audit_suspect",
    "check",
    "effects",
    "less_reference",
    "load_config",
    "marks_needed",
    "p_value",
    "run_all",
    "smallest_p",
    "trace",
]
_PLACES = {
    "ImageSet": "types:ImageSet",
    "Responses": "types:Responses",
    "alignments": "statistics.alignment:alignments",
    "attractions": "statistics.attraction:attractions",
    "audit_suspect": "audit.session:audit_suspect",
    "check": "audit.check:check",
    "effects": "statistics.effects:effects",
    "less_reference": "statistics.effects:less_reference",
    "load_config": "params:load",
    "marks_needed": "statistics.words:marks_needed",
    "p_value": "statistics.exact:p_value",
    "run_all": "runner:run_all",
    "smallest_p": "statistics.words:floor",
    "trace": "statistics.tracing:trace",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'sscl' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(import_module(f"sscl.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
