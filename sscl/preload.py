"""What stages import, all of it: the fork server imports this module and is then ready for any of them."""

from importlib import import_module
from pkgutil import iter_modules

import lpips  # noqa: F401
import pydantic  # noqa: F401 - typer imports it when it reads a command line
import torchvision.models  # noqa: F401

import sscl.cli
import sscl.stages
from sscl.attacks import REMOVALS
from sscl.data.formats import FORMATS
from sscl.data.sources import SOURCES
from sscl.encoders.removals import REMOVALS as ENCODER_REMOVALS
from sscl.learning import LEARNERS
from sscl.models.base import CLASSIFIERS
from sscl.provenance import code_digest
from sscl.stages.table import ALL
from sscl.statistics.effects import STATISTICS
from sscl.statistics.paired import TESTS
from sscl.suspects import ORACLES
from sscl.watermarks import WATERMARKS
from sscl.watermarks.marks import FAMILIES

for _module in iter_modules(sscl.stages.__path__):
    import_module(f"sscl.stages.{_module.name}")
for _registry in (WATERMARKS, CLASSIFIERS, LEARNERS, SOURCES, FORMATS, TESTS, STATISTICS, FAMILIES, ORACLES):
    list(_registry)  # members are found on first use
for _attacks in (REMOVALS, ENCODER_REMOVALS):
    list(_attacks)
for _stage in ALL.values():
    code_digest(f"sscl.stages.{_stage.verb}")
