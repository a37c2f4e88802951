"""The verbs ``sscl release create | list | pull | verify | trace | unseal``."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sscl.cli.common import ComputeSet, Debug, Differing, Json, Params, Profile, err_console, reporting, require_compute

if TYPE_CHECKING:
    from sscl.release.config import ReleaseConfig

app = typer.Typer(no_args_is_help=True, help="Publish, list, pull and check releases in S3.")

Set = Annotated[list[str] | None, typer.Option("--set", "-s", help="Override, e.g. -s release.parallel=8.")]
Signer = Annotated[str | None, typer.Option(help="The owner's Ed25519 key, hexadecimal; any other is refused.")]
Url = Annotated[str | None, typer.Option("--from", help="s3://BUCKET/PREFIX.  [default: release.public]")]
Parallel = Annotated[int, typer.Option(help="Files at a time.", min=1, max=64)]


def init_remote(
    public: Annotated[str, typer.Option(help="s3://BUCKET/PREFIX of what may be published.")],
    private: Annotated[str, typer.Option(help="s3://BUCKET/PREFIX of the rest; never under the public one.")],
    debug: Debug = False,
) -> None:
    """Name DVC's two remotes: `dvc push -r public` can never carry the secret, `dvc push` sends each output to its own.

    Example: sscl init-remote --public s3://public-datasets/dvc --private s3://owner-secrets/dvc
    """

    def work() -> None:
        from sscl.errors import InputError, SSCLError
        from sscl.release.places import are_apart

        if not are_apart(private, public):
            raise InputError(f"--private {private}: is not apart from the public place; name another")
        for name, url in (("public", public), ("private", private)):
            done = subprocess.run(
                [sys.executable, "-m", "dvc", "remote", "add", "--force", name, url],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise SSCLError(f"dvc: {done.stderr.strip()}; run this in the checkout")
        typer.echo("remotes: public, private. `dvc push` sends every output to its own; commit .dvc/config")

    _run(debug, work)


def _run(debug: bool, work: Callable[[], Any]) -> Any:
    with reporting(debug):
        return work()


def _say(text: str) -> None:
    from sscl.errors import printable

    err_console.print(printable(text, 4000), highlight=False, markup=False)


def _config(params: Path | None, overrides: list[str] | None, profile: str | None = None) -> "ReleaseConfig":
    from sscl.release.config import load_release

    return load_release(params, overrides or (), profile)


@app.command()
def create(
    version: Annotated[str, typer.Argument(help="e.g. 1.0.0")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output root of a finished pipeline.")] = Path("out"),
    recipient: Annotated[str | None, typer.Option(help="A licensee: a copy under a word of its own.")] = None,
    study: Annotated[bool, typer.Option("--study", help="Without key_file: anybody can derive the secret.")] = False,
    differing: Differing = False,
    params: Params = None,
    profile: Profile = None,
    set_: Set = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Gate, pack, seal and publish what the pipeline made. Run again after any failure: it resumes where it stopped.

    Example: sscl release create 1.0.0 --set release.public=s3://public-datasets/releases
    """

    def work() -> None:
        from sscl.layout import Root
        from sscl.release.create import create

        config = _config(params, set_, profile)
        outcome = create(
            Root(out), config, version, announce=_say, recipient=recipient, study=study, differing=differing
        )
        if json_:
            found = {"version": version, "digest": outcome.manifest.digest, "sent": outcome.sent}
            typer.echo(json.dumps(found))

    _run(debug, work)


@app.command(name="list")
def list_(
    name: Annotated[str | None, typer.Argument(help="Only this dataset's.")] = None,
    url: Url = None,
    params: Params = None,
    profile: Profile = None,
    set_: Set = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Every published release.

    Example: sscl release list --from s3://public-datasets/releases
    """

    def work() -> None:
        from sscl.errors import printable
        from sscl.release.objects import Objects
        from sscl.release.reader import published

        found = list(published(Objects(url or _config(params, set_, profile).public), name, _say))
        if json_:
            keys = ("name", "version", "created", "digest", "commitment")
            typer.echo(json.dumps([{key: getattr(manifest, key) for key in keys} for manifest in found]))
            return
        for manifest in found:
            size = sum(file.size for file in manifest.content()) / 1e6
            what, when = (printable(said) for said in (f"{manifest.name} {manifest.version}", manifest.created))
            typer.echo(f"{what}  {when}  {size:.1f} MB  {manifest.digest[:12]}")
        if not found:
            typer.echo("no releases")

    _run(debug, work)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="Dataset.")],
    version: Annotated[str, typer.Argument(help="e.g. 1.0.0")],
    out: Annotated[Path, typer.Option("--out", "-o", help="An empty folder, or one in which a pull broke off.")],
    signer: Signer = None,
    url: Url = None,
    parallel: Parallel = 4,
    params: Params = None,
    profile: Profile = None,
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Download a release and check every file; files that are already there are skipped.

    Example: sscl release pull digits 1.0.0 --from s3://public-datasets/releases --out digits
    """

    def work() -> None:
        from sscl.release import reader
        from sscl.release.objects import Objects

        objects = Objects(url or _config(params, set_, profile).public)
        manifest = reader.get(objects, name, version, signer)
        count = reader.pull(objects, manifest, out, parallel)
        typer.echo(f"{name} {version}: {count} of {len(manifest.files)} files came, all as published: {out}")
        if signer is None:
            said = (
                f"signed by {manifest.signer}; `pull --signer` with it accepts no other"
                if manifest.signer
                else "not signed"
            )
            typer.echo(said)

    _run(debug, work)


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="Dataset.")] = None,
    version: Annotated[str | None, typer.Argument(help="e.g. 1.0.0")] = None,
    folder: Annotated[Path | None, typer.Option(help="A pulled folder, checked offline.")] = None,
    signer: Signer = None,
    url: Url = None,
    parallel: Parallel = 4,
    params: Params = None,
    profile: Profile = None,
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Read every file and check it against the manifest.

    Example: sscl release verify --folder digits
    """

    def work() -> None:
        from sscl.errors import InputError, SSCLError
        from sscl.release import reader
        from sscl.release.objects import Objects

        named = (name, version) if name and version else None
        if not named and (name or not folder):
            raise InputError("name NAME and VERSION, or --folder, or all three")
        if folder and url:
            raise InputError("--from: --folder is checked offline; leave one of them out")
        if folder:
            wrong = reader.check_folder(folder, signer, named)
        elif named:
            objects = Objects(url or _config(params, set_, profile).public)
            wrong = reader.verify(objects, reader.get(objects, *named, signer), parallel)
        if wrong:
            raise SSCLError(f"{len(wrong)} files are not as published: {'; '.join(wrong)}")
        typer.echo("VALID")

    _run(debug, work)


@app.command()
def trace(
    suspect: Annotated[str, typer.Argument(help="Model file, pkg.mod:function or URL.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output root in which the copies were made.")] = Path("out"),
    oracle: Annotated[Path | None, typer.Option(help="YAML file that describes how to query the suspect.")] = None,
    occasion: Annotated[
        int | None, typer.Option(help="Number of this tracing, from 1, if the suspect may be traced again.", min=1)
    ] = None,
    params: Params = None,
    profile: Profile = None,
    set_: ComputeSet = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Say whose copy a model was trained on. An interrupted run resumes: an API's answers are kept.

    Example: sscl release trace model.onnx --out out
    """

    def work() -> None:
        from sscl.audit.examine import prepare
        from sscl.audit.session import answers, read_settings
        from sscl.compute import Compute
        from sscl.layout import Root
        from sscl.params import load
        from sscl.release import recipients
        from sscl.suspects import Context, open_oracle

        require_compute(set_)
        root = Root(out)
        case = prepare(root.watermark, root.opening, root.commitment)
        kept = answers(root, case.commitment, f"trace{occasion or ''}")
        context = Context(case.suspects_classes, Compute.set_up(load(params, profile, set_ or ()).compute), kept)
        found = recipients.trace(root, case, open_oracle(suspect, context, read_settings(oracle)), occasion)
        if json_:
            typer.echo(json.dumps([vars(row) for row in found]))
            return
        for row in sorted(found, key=lambda row: row.adjusted):
            verdict = "trained on this copy" if row.named else "no evidence"
            typer.echo(f"{row.recipient:30} p {row.p_value:.3g}  corrected p {row.adjusted:.3g}  {verdict}")

    _run(debug, work)


@app.command()
def unseal(
    name: Annotated[str, typer.Argument(help="Dataset.")],
    version: Annotated[str, typer.Argument(help="e.g. 1.0.0")],
    key: Annotated[str, typer.Option(help="File with AGE-SECRET-KEY-1..., `env` (SSCL_SEAL_KEY), or kms:FILE.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder for the secret.")],
    url: Url = None,
    params: Params = None,
    profile: Profile = None,
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Bring the owner's secret back, for an audit on another machine.

    Example: sscl release unseal digits 1.0.0 --key seal.key --out secret
    """

    def work() -> None:
        from sscl.errors import InputError
        from sscl.release import reader, sealed
        from sscl.release.manifest import folder_of
        from sscl.release.objects import Objects
        from sscl.release.sealed import SEALED

        if out.exists():
            raise InputError(f"{out}: already there; name a new folder")
        config = _config(params, set_, profile)
        manifest = reader.get(Objects(url or config.public), name, version)
        private = Objects(config.private)
        found = [item.key for item in private.list(f"{folder_of(name, manifest.digest)}/{SEALED}")]
        if not found:
            raise InputError(f"{config.private}: no secret of {name} {version} there; correct release.private")
        sealed.unseal_any((private.read(place, sealed.LARGEST) or b"" for place in found), key, out)
        typer.echo(f"secret of {name} {version}: {out}")

    _run(debug, work)
