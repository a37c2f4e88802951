"""Where a benchmark's pieces are made once: folders named by what went into them, safe for several workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sscl.artifacts import digest, key_of
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import ComputeConfig
from sscl.provenance import code_digest
from sscl.slots import Slot, building


def precision(config: ComputeConfig) -> dict[str, Any]:
    """Parts of the key of a piece whose numbers depend on where and how they are computed."""
    compute = Compute.resolve(config)
    return {"compute": asdict(config), "device": compute.device.type, "bf16": compute.bf16}


@dataclass(frozen=True)
class Workshop:
    """All under one folder."""

    root: Path

    def slot(self, kind: str, module: str, **parts: Any) -> Slot:
        """Where a piece of that kind goes: its key is over its parts (paths count by content) and the module's code."""
        plain = {name: digest(value) if isinstance(value, Path) else value for name, value in parts.items()}
        key = key_of(kind=kind, code=code_digest(module), **plain)
        return Slot(f"{kind}-{key[:20]}", (self.root / kind / key[:20],), key, self.root / ".sscl")

    def make(self, slot: Slot, build: Callable[[Path, Checkpoint], None]) -> Path:
        """The piece's folder, built now unless it is there."""
        with building(slot) as temporaries:
            if temporaries is not None:
                build(temporaries[0], Checkpoint(slot.checkpoints))
        Checkpoint(slot.checkpoints).discard()
        return slot.outs[0]

    @staticmethod
    def seconds(slot: Slot) -> float:
        """How long it took to make."""
        return float((slot.manifest() or {}).get("seconds", 0.0))
