"""Bundles of evidence that were forged, or that should break whoever opens them."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.torch import load
from typer.testing import CliRunner

from benchmarks.hostile_inputs.base import Input, Place
from sscl.audit import bundle
from sscl.audit.canonical import canonical
from sscl.audit.check import Expected, check
from sscl.audit.parts import AUDIT, IMAGES, QUERIES
from sscl.cli import app
from sscl.layout import COMMITMENT, FINDING, OPENING

Parts = dict[str, bytes]


def real(place: Place) -> Parts:
    """The parts of a valid bundle, without its attestation."""
    found = bundle.unpack(place.root / "private/audits/malicious/bundle.zip")[0]
    return {name: content for name, content in found.items() if name != bundle.ATTESTATION}


def judged(path: Path, expected: Expected | None = None) -> str:
    wrong = check(path, expected)
    return f"differs: {wrong[0]}" if wrong else "VALID"


def forged(change: Callable[[Parts], None]) -> Callable[[Place], str]:
    """Parts changed, and attested anew without a key."""

    def attempt(place: Place) -> str:
        parts = real(place)
        change(parts)
        bundle.write(place.folder / "b.zip", parts, None)
        return judged(place.folder / "b.zip")

    return attempt


def with_values(name: str, **values: Any) -> Callable[[Place], str]:
    return forged(lambda parts: parts.update({name: canonical({**json.loads(parts[name]), **values})}))


def with_queries(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Callable[[Place], str]:
    def rewrite(parts: Parts) -> None:
        queries = change([json.loads(line) for line in parts[QUERIES].splitlines()])
        parts[QUERIES] = b"".join(canonical(query) + b"\n" for query in queries)

    return forged(rewrite)


def protocol(place: Place, **values: Any) -> str:
    parts = real(place)
    audit, opening = json.loads(parts[AUDIT]), json.loads(parts[OPENING])
    for document in (audit, opening):
        document["protocol"] |= values
    parts |= {AUDIT: canonical(audit), OPENING: canonical(opening)}
    bundle.write(place.folder / "b.zip", parts, None)
    return judged(place.folder / "b.zip")


def recommitted(place: Place, **values: Any) -> str:
    """A genuine commitment to something else."""
    parts = real(place)
    parts[OPENING] = canonical(json.loads(parts[OPENING]) | values)
    commitment = json.loads(parts[COMMITMENT]) | {"sha256": hashlib.sha256(parts[OPENING]).hexdigest()}
    parts[COMMITMENT] = canonical(commitment)
    bundle.write(place.folder / "b.zip", parts, None)
    return "; ".join(check(place.folder / "b.zip")) or "VALID"


def packed(change: Callable[[Parts], Parts]) -> Callable[[Place], str]:
    """Any zip file."""

    def attempt(place: Place) -> str:
        whole = bundle.unpack(place.root / "private/audits/malicious/bundle.zip")[0]
        (place.folder / "b.zip").write_bytes(bundle.pack(change(whole)))
        return judged(place.folder / "b.zip")

    return attempt


def raw(write: Callable[[Path], object]) -> Callable[[Place], str]:
    def attempt(place: Place) -> str:
        write(place.folder / "b.zip")
        return judged(place.folder / "b.zip")

    return attempt


def printed(**values: Any) -> Callable[[Place], str]:
    """What ``sscl check`` prints of a bundle with these values in its audit."""

    def attempt(place: Place) -> str:
        with_values(AUDIT, **values)(place)
        return CliRunner().invoke(app, ["check", str(place.folder / "b.zip")]).output

    return attempt


def expecting(**known: Any) -> Callable[[Place], str]:
    return lambda place: judged(place.root / "private/audits/malicious/bundle.zip", Expected(**known))


def other_signature(place: Place) -> str:
    parts = real(place)
    one, two = (json.loads(bundle.attest(parts, Ed25519PrivateKey.generate())) for _ in range(2))
    mixed = {**one, "signatures": [{**one["signatures"][0], "sig": two["signatures"][0]["sig"]}]}
    (place.folder / "b.zip").write_bytes(bundle.pack({**parts, bundle.ATTESTATION: canonical(mixed)}))
    return judged(place.folder / "b.zip")


def compressed(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(AUDIT, bytes(10**8))


def shaped(parts: Parts) -> None:
    """Images of which each has no bytes, and there are 10^15."""
    entry = {"dtype": "U8", "shape": [10**15, 1, 0, 1], "data_offsets": [0, 0]}
    header = json.dumps(dict.fromkeys(sorted(load(parts[IMAGES])), entry)).encode()
    parts[IMAGES] = len(header).to_bytes(8, "little") + header


DIFFERS = "^differs: "
INPUTS = [
    Input("answers typed by hand", "bundle", DIFFERS, with_queries(lambda qs: [q | {"answer": q["answer"][::-1]} for q in qs])),
    Input("the answers that are disliked declared declined", "bundle", DIFFERS, with_queries(lambda qs: [q | {"answer": None} if n % 10 == 0 else q for n, q in enumerate(qs)])),
    Input("queries left out", "bundle", DIFFERS, with_queries(lambda qs: qs[1:])),
    Input("queries twice", "bundle", DIFFERS, with_queries(lambda qs: [*qs, qs[-1]])),
    Input("other images sent", "bundle", DIFFERS, with_queries(lambda qs: [q | {"sha256": "0" * 64} for q in qs])),
    Input("marks spelt as 1.0", "bundle", "must be whole numbers", with_queries(lambda qs: [q | {"mark": float(q["mark"])} for q in qs])),
    Input("images for two spellings of a mark, committed to", "bundle", "which were sent could be chosen", lambda p: recommitted(p, queries=(q := json.loads(real(p)[OPENING])["queries"]) | {"1.0": q["1"]})),
    Input("a sentence as recipient, committed to", "bundle", "is not a name", lambda p: recommitted(p, recipient="all. Its time stamp was verified")),
    Input("a sentence as access", "bundle", "access must be one of", with_values(AUDIT, access="probabilities. Its time stamp was verified")),
    Input("a file whose answers are called labels", "bundle", "its settings do not", with_values(AUDIT, access="labels")),
    Input("a setting too long to be printed", "bundle", "characters; at most 2,000 are printed", with_values(AUDIT, interface={"note": "x" * 2001})),
    Input("a setting in escaped brackets", "bundle", r"setting note: \\\[answer 3\]", printed(interface={"note": "\\[answer 3]"})),
    Input("a setting that closes no bracket", "bundle", "Not visible here", printed(interface={"note": "\\[/]"})),
    Input("a file with a reader of replies", "bundle", "has a reader of replies", with_values(AUDIT, reader={"probabilities": "$.p"})),
    Input("an API, and half of how it was asked", "bundle", "does not say how the suspect was asked", with_values(AUDIT, suspect={"kind": "http", "url": "https://h"}, interface={"request": "json"})),
    Input("a picture as the checker's commitment", "bundle", "--commitment: not JSON", expecting(commitment=b"\x89PNG")),
    Input("smaller p", "bundle", DIFFERS, with_values(FINDING, p_value=1e-9)),
    Input("another word", "bundle", DIFFERS, lambda p: with_values(AUDIT, word=json.loads(real(p)[AUDIT])["word"][::-1])(p)),
    Input("another secret", "bundle", DIFFERS, with_values(OPENING, secret="00" * 32)),
    Input("alpha of 0.5, committed anew", "bundle", "accuses too many innocents", lambda p: protocol(p, alpha=0.5)),
    Input("alpha of 0.05, without committing anew", "bundle", DIFFERS, lambda p: protocol(p, alpha=0.05)),
    Input("another attempt", "bundle", DIFFERS, with_values(COMMITMENT, attempt=2)),
    Input("labels moved", "bundle", DIFFERS, lambda p: with_values(AUDIT, labels=[0] * len(json.loads(real(p)[AUDIT])["labels"]))(p)),
    Input("classes in another order", "bundle", DIFFERS, lambda p: with_values(AUDIT, class_names=json.loads(real(p)[AUDIT])["class_names"][::-1])(p)),
    Input("audit of 2001", "bundle", DIFFERS, with_values(AUDIT, started="2001-01-01T00:00:00+00:00")),
    Input("audit of 2999", "bundle", DIFFERS, with_values(AUDIT, finished="2999-01-01T00:00:00+00:00")),
    Input("guarantees claimed", "bundle", DIFFERS, with_values(AUDIT, guarantees=[])),
    Input("called exploratory", "bundle", DIFFERS, with_values(AUDIT, confirmatory=False, guarantees=[])),
    Input("keys that stand twice", "bundle", "not canonical JSON", forged(lambda p: p.update({FINDING: b'{"alpha":0,' + p[FINDING][1:]}))),
    Input("occasion of 1e200", "bundle", DIFFERS, with_values(AUDIT, occasion=1e200)),
    Input("200,000 marks", "bundle", DIFFERS, with_values(AUDIT, word=[0] * 200_000)),
    Input("10^30 groups", "bundle", DIFFERS, with_values(AUDIT, groups=10**30)),
    Input("another file's images", "bundle", DIFFERS, forged(lambda p: p.update({IMAGES: p[IMAGES][:-1] + b"\xff"}))),
    Input("images of a shape that no content has", "bundle", DIFFERS, forged(shaped)),
    Input("blank letters in a suspect's address", "bundle", DIFFERS, with_values(AUDIT, suspect={"kind": "http", "url": "http://h/" + chr(0x2800) * 60 + "signer: known"})),
    Input("an API called a file", "bundle", "not named by its SHA-256 alone", with_values(AUDIT, suspect={"kind": "classifier", "function": "api.example.org"})),
    Input("a file's features, which no setting says", "bundle", "and its settings do not", with_values(AUDIT, access="labels", interface={"output": "features"})),
    Input("images that are no tensors", "bundle", DIFFERS, forged(lambda p: p.update({IMAGES: b"\xff" * 100}))),
    Input("a part that no bundle has", "bundle", DIFFERS, forged(lambda p: p.update({"run.sh": b""}))),
    Input("a part with a path", "bundle", DIFFERS, forged(lambda p: p.update({"../../x": b""}))),
    Input("signed by another key than it names", "bundle", DIFFERS, other_signature),
    Input("attestation of 100,000 brackets", "bundle", DIFFERS, packed(lambda p: p | {bundle.ATTESTATION: b"[" * 100_000})),
    Input("finding of 100,000 brackets", "bundle", DIFFERS, forged(lambda p: p.update({FINDING: b"[" * 100_000}))),
    Input("a thousand parts", "bundle", "more than 100 parts", packed(lambda p: p | {str(n): b"" for n in range(1000)})),
    Input("compressed parts", "bundle", "its parts are compressed", raw(compressed)),
    Input("pipe", "bundle", "not a regular file", raw(os.mkfifo)),
    Input("device", "bundle", "not a regular file", raw(lambda path: path.symlink_to("/dev/zero"))),
    Input("text", "bundle", "not an undamaged zip file", raw(lambda path: path.write_text("evidence"))),
    Input("another commitment than the published one", "bundle", DIFFERS, expecting(commitment=b"{}")),
    Input("another signer than the owner", "bundle", DIFFERS, expecting(signer="0" * 64)),
    Input("another suspect than the file at hand", "bundle", DIFFERS, expecting(suspect="0" * 64)),
    Input("a real bundle", "bundle", "^VALID", expecting()),
]  # fmt: skip
