"""Releases and manifests that want to write elsewhere, or are not what was published."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.hostile_inputs.base import Input, Place
from sscl.artifacts import read_json
from sscl.audit.canonical import digest_of
from sscl.layout import COMMITMENT, PACKED
from sscl.package.files import COMMITMENTS, File, files_of
from sscl.release import reader
from sscl.release.manifest import FORMAT, Manifest, content_digest, folder_of
from sscl.release.objects import Objects


def manifest_of(place: Place, files: list[File] | None = None) -> Manifest:
    """A manifest of the pipeline's package, or of other files."""
    listed = files_of(place.root / PACKED) if files is None else files
    entries = [asdict(file) for file in listed]
    commitment = digest_of(read_json(place.root / PACKED / COMMITMENTS / COMMITMENT))
    return Manifest(FORMAT, place.folder.name, "1.0", "now", content_digest(listed), "0", commitment, {}, entries)


def published(place: Place, document: Any, content: bool = True) -> Objects:
    """Put a manifest, and the package's files, where readers look."""
    objects = Objects(f"s3://{place.bucket}")
    manifest = manifest_of(place)
    for file in manifest.content() if content else ():
        data = (place.root / PACKED / file.path).read_bytes()
        objects.write(f"{folder_of(manifest.name, manifest.digest)}/{file.path}", data)
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    objects.write(f"{manifest.name}/versions/1.0.json", text)
    return objects


def pulled(place: Place, document: Any, signer: str | None = None) -> str:
    objects = published(place, document)
    manifest = reader.get(objects, place.folder.name, "1.0", signer)
    count = reader.pull(objects, manifest, place.folder / "out", 2)
    return f"{count} files came"


def naming(path: str) -> Callable[[Place], str]:
    def attempt(place: Place) -> str:
        return pulled(place, asdict(manifest_of(place, [File(path, 1, "0" * 64)])))

    return attempt


def changed(**entry: Any) -> Callable[[Place], str]:
    def attempt(place: Place) -> str:
        document = asdict(manifest_of(place))
        document["files"][0] |= entry
        return pulled(place, document)

    return attempt


def longer(place: Place) -> str:
    """An object with more bytes than the manifest lists."""
    manifest = manifest_of(place)
    objects, first = published(place, asdict(manifest)), manifest.content()[0]
    objects.write(f"{folder_of(manifest.name, manifest.digest)}/{first.path}", bytes(first.size + 10**6))
    return f"{reader.pull(objects, manifest, place.folder / 'out', 2)} files came"


def bad_neighbour(place: Place) -> str:
    """A manifest that is none beside a good one."""
    objects = published(place, asdict(manifest_of(place)))
    objects.write(f"{place.folder.name}/versions/0.9.json", b"[" * 100_000)
    return f"{len(list(reader.published(objects, place.folder.name)))} listed"


def held(change: Callable[[Path], object]) -> Callable[[Place], str]:
    """A pulled folder that was changed afterwards."""

    def attempt(place: Place) -> str:
        pulled(place, asdict(manifest_of(place)))
        change(place.folder / "out")
        wrong = reader.check_folder(place.folder / "out")
        return f"differs: {wrong[0]}" if wrong else "VALID"

    return attempt


def emptied(folder: Path) -> None:
    path = folder / reader.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": []}))


def through_a_link(place: Place) -> str:
    """A pull that goes on in a folder of which a part leads elsewhere by now."""
    pulled(place, asdict(manifest_of(place)))
    (place.folder / "out/data").rename(place.folder / "elsewhere")
    (place.folder / "out/data").symlink_to(place.folder / "elsewhere")
    return pulled(place, asdict(manifest_of(place)))


def linked(folder: Path) -> None:
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to("/etc/hostname")


STRANGE, NONE = "as no release does", "not a manifest"
INPUTS = [
    Input("manifest that names .git/config", "manifest", STRANGE, naming(".git/config")),
    Input("manifest that names ../x", "manifest", STRANGE, naming("../x")),
    Input("manifest that names /etc/cron.d/x", "manifest", STRANGE, naming("/etc/cron.d/x")),
    Input("manifest that names release.json", "manifest", STRANGE, naming("release.json")),
    Input("manifest with terminal codes in a name", "manifest", r"^refused: [^\x1b]*$", naming("\x1b[2J")),
    Input("manifest with a negative size", "manifest", NONE, changed(size=-1)),
    Input("manifest with a list as path", "manifest", NONE, changed(path=["a"])),
    Input("manifest with a file more than once", "manifest", NONE, changed(path="README.md")),
    Input("manifest with another digest", "manifest", "contradicts itself", changed(sha256="0" * 64)),
    Input("manifest of 100,000 brackets", "manifest", NONE, lambda p: pulled(p, b"[" * 100_000)),
    Input("manifest that is a web page", "manifest", NONE, lambda p: pulled(p, b"<html>")),
    Input("manifest signed by another key", "manifest", "do not use it", lambda p: pulled(p, asdict(manifest_of(p).signed(Ed25519PrivateKey.generate())), "0" * 64)),
    Input("manifest without a signature, where one is expected", "manifest", "signed by nobody", lambda p: pulled(p, asdict(manifest_of(p)), "0" * 64)),
    Input("manifest changed after signing", "manifest", NONE, lambda p: pulled(p, asdict(manifest_of(p).signed(Ed25519PrivateKey.generate())) | {"created": "later"})),
    Input("another commitment beside the data than the manifest names", "release", "not the commitment that the manifest names", lambda p: pulled(p, asdict(manifest_of(p)) | {"commitment": "0" * 64})),
    Input("object longer than listed", "release", "longer than its manifest says", longer, slow=True),
    Input("a bad manifest beside a good one", "release", "^1 listed", bad_neighbour),
    Input("file added to a pulled folder", "release", "^differs: x.sh: not a file", held(lambda f: (f / "x.sh").write_text(""))),
    Input("link added to a pulled folder", "release", "^differs: x: not a file", held(lambda f: (f / "x").symlink_to("/etc/passwd"))),
    Input("pulled file replaced by a link", "release", "^differs: README.md", held(linked)),
    Input("folder that leads elsewhere", "release", "a link, and what is pulled stays", through_a_link),
    Input("manifest of a pulled folder emptied", "release", "^differs: release.json", held(emptied)),
]  # fmt: skip
