"""An audit as the command line and the flow start it: from paths under an output root."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sscl.age import public_keys
from sscl.audit.bundle import load_key
from sscl.audit.examine import examine, prepare
from sscl.audit.opening import commitment_digest
from sscl.audit.verdict import Finding
from sscl.compute import Compute
from sscl.config import ComputeConfig
from sscl.errors import InputError
from sscl.layout import Root
from sscl.suspects import Context, open_oracle


def audit_suspect(
    suspect: str,
    root: Path,
    compute: ComputeConfig,
    *,
    oracle: Path | None = None,
    bundle: Path | None = None,
    sign: Path | None = None,
    confirmatory: bool = True,
    occasion: int | None = None,
    seal_to: Sequence[str] = (),
    overwrite: bool = False,
) -> tuple[Finding, dict[str, Any]]:
    """Audit ``suspect`` with the release under ``root``; see ``sscl.audit.examine.examine``.

    Args:
        suspect: model file, ``pkg.mod:function`` or URL.
        root: output root of the release, with ``clean``, ``private`` and ``public/commitment``.
        compute: where local models run.
        oracle: YAML file of the oracle's settings.
        bundle: where the evidence goes.
        sign: private key of the evidence.
        confirmatory: hold the result to the published commitment.
        occasion: which audit of the suspect under this commitment it is; all of them share alpha. Answers are kept by
            commitment and occasion: a broken-off audit goes on, the next one asks anew, and what was answered before a
            commitment never counts under it.
        seal_to: age public keys of who may see the queries in the bundle.
        overwrite: replace a bundle that is there.

    Raises:
        InputError: files that are missing or do not match, a key that is none, or the bundle is there already. Nothing
            was asked then.
    """
    if not bundle and (sign or seal_to):
        raise InputError(f"{'--sign' if sign else '--seal-to'}: is for the evidence; name its file with --bundle")
    if bundle and bundle.exists() and not overwrite:
        raise InputError(f"{bundle}: there already, and evidence is not replaced; name another file, or --overwrite")
    key, readers = load_key(sign) if sign else None, public_keys(seal_to, "--seal-to")
    resolved = Compute.set_up(compute)
    under = Root(root)
    if not under.opening.is_file():
        raise InputError(
            f"{under.opening}: no such file; name the release's folder with --out, or get it by `sscl release unseal`"
        )
    case = prepare(secret_under(under), under.opening, under.commitment if confirmatory else None)
    context = Context(case.suspects_classes, resolved, answers(under, case.commitment, str(occasion or "")))
    model = open_oracle(suspect, context, read_settings(oracle))
    if bundle:
        bundle.parent.mkdir(parents=True, exist_ok=True)
    return examine(case, model, bundle, key=key, occasion=occasion, seal_to=readers)


def secret_under(root: Root) -> Path:
    """Where the word is: of a dataset's release, or, where there is none, of an encoder."""
    return root.imprinted if root.imprinted.is_dir() and not root.watermark.is_dir() else root.watermark


def answers(root: Root, commitment: dict[str, Any] | None, occasion: str) -> Path:
    """Where a suspect's answers are kept: never those from before a commitment under it."""
    return root.state / "responses" / (commitment_digest(commitment)[:16] if commitment else "exploratory") / occasion


def read_settings(path: Path | None) -> dict[str, Any]:
    """An oracle's settings; none without a file.

    Raises:
        InputError: not a YAML file with settings.
    """
    if path is None:
        return {}
    try:
        found = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `--oracle` takes a YAML file of the oracle's settings") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable YAML file ({' '.join(str(error).split())})") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected settings such as `probabilities: $.scores`")
    return found
