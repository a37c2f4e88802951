"""What a bundle says about the suspect. It is printed beside the verdict, so it must be unambiguous."""

from __future__ import annotations

import re
from typing import Any

from sscl.artifacts import SHA256
from sscl.audit.parts import AUDIT
from sscl.errors import printable

KIND = re.compile(r"[a-z]+(?:[ _-][a-z]+){0,2}")  # of a suspect; one that only looks like ``FILES`` would be no file
PARTICULAR = re.compile(r"[!-~]{1,2000}")
LONG, LONGEST = 2000, 100_000  # characters of a setting, and of a map of class names: what is printed beside a verdict
FILES = ("classifier", "model file")  # kinds of suspects that answer whatever they are asked
BUILT_IN = (*FILES, "http")  # no other kind may look like one of these
# What is known of how these were asked; of an API also the query of its address.
ASKED = {"request", "field", "body", "image_format", "jpeg_quality", "layout", "values"}
RECORDED = {"http": ASKED, "model file": {"layout", "values", "dtype"}}


def is_mapped(reader: dict[str, Any] | None) -> bool:
    """Whether a map says which classes an API's labels are."""
    return bool(reader and reader.get("names"))


def misnamed(kind: str, access: str, interface: dict[str, Any]) -> bool:
    """Whether a file's answers are called anything but what its settings make them: features, or else probabilities."""
    said = interface.get("output") if kind == "classifier" else interface.get("scale")
    return kind in FILES and access != ("features" if said == "features" else "probabilities")


def unclear(suspect: dict[str, Any], interface: Any, reader: Any) -> list[str]:
    """Particulars of a suspect, and settings, that could be taken for something else when they are printed."""
    kind = str(suspect.get("kind"))
    folded = re.sub("[_-]", " ", kind)
    if not KIND.fullmatch(kind) or (kind not in BUILT_IN and any(name in folded for name in BUILT_IN)):
        return [f"{AUDIT}: the suspect's kind is not one in plain letters"]
    if kind in FILES and ({"url", "function"} & set(suspect) or not SHA256.fullmatch(str(suspect.get("sha256")))):
        return [f"{AUDIT}: the suspect is a file, and is not named by its SHA-256 alone"]
    if kind in FILES and reader is not None:
        return [f"{AUDIT}: the suspect is a file, and has a reader of replies, as an API has"]
    if kind == "http" and set(suspect) != {"kind", "url"}:
        return [f"{AUDIT}: the suspect is an API, and is not named by its URL alone"]
    settings = interface if isinstance(interface, dict) else {0: None}
    if not all(isinstance(said, str) and re.fullmatch("[a-z][a-z0-9_]*", str(name)) for name, said in settings.items()):
        return [f"{AUDIT}: its interface is not a table of names and texts"]
    if set(settings) & set(reader or {}):
        return [f"{AUDIT}: its interface and its reader have settings of the same name"]
    if missing := RECORDED.get(kind, set()) - set(settings):
        return [f"{AUDIT}: does not say how the suspect was asked ({', '.join(sorted(missing))})"]
    if kind == "http" and (other := set(settings) - ASKED - {"query"}):
        return [f"{AUDIT}: has settings that no API is asked with ({printable(', '.join(sorted(other)))})"]
    for name, said in {**settings, **(reader or {})}.items():
        most = LONGEST if name == "names" else LONG
        if len(str(said)) > most:
            return [f"{AUDIT}: setting {name} has {len(str(said)):,} characters; at most {most:,} are printed"]
    wrong = (name for name in ("url", "function", "sha256") if not PARTICULAR.fullmatch(str(suspect.get(name, "-"))))
    return [f"{AUDIT}: the suspect's {name} is not one word in ASCII of at most 2,000 characters" for name in wrong]
