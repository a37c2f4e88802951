"""``sscl stamp``, ``audit`` and ``check``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from sscl.cli.common import (
    ComputeSet,
    Debug,
    Json,
    Options,
    Out,
    Params,
    Profile,
    Quiet,
    execute,
    out_console,
    reporting,
    require_compute,
    styled,
)


def stamp(
    authority: Annotated[str, typer.Argument(help="URL of a time-stamp authority (RFC 3161).")],
    out: Out = Path("out"),
    debug: Debug = False,
) -> None:
    """Have a time-stamp authority sign the commitment's hash, and keep its reply for audits and the release.

    Example: sscl stamp https://freetsa.org/tsr --out out
    """
    with reporting(debug):
        from sscl.audit import timestamp
        from sscl.layout import Root

        moment = timestamp.stamp(Root(out), authority)
        out_console.print(f"The authority saw the commitment at {moment:%Y-%m-%d %H:%M:%S} UTC")
        out_console.print(f"{Root(out).stamp}: its reply", soft_wrap=True)


def audit(
    suspect: Annotated[str, typer.Argument(help="Model file, pkg.mod:function or URL.")],
    oracle: Annotated[Path | None, typer.Option(help="YAML file that describes how to query the suspect.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Write the evidence here.")] = None,
    *,
    sign: Annotated[Path | None, typer.Option(help="Ed25519 key (PEM) that signs the evidence.")] = None,
    occasion: Annotated[
        int | None, typer.Option(help="Number of this audit, from 1, if the suspect may be audited again.", min=1)
    ] = None,
    seal_to: Annotated[
        list[str] | None, typer.Option(help="age public key of who may see the queries in the evidence (repeatable).")
    ] = None,
    exploratory: Annotated[bool, typer.Option(help="Without the published commitment: no evidence.")] = False,
    params: Params = None,
    profile: Profile = None,
    set_: ComputeSet = None,
    out: Out = Path("out"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace evidence of an earlier audit.")] = False,
    quiet: Quiet = False,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Send the committed queries to a suspect, and test exactly whether it was trained on the release.

    Example: sscl audit http://host/predict --oracle api.yaml --out out --bundle evidence.zip --sign key.pem
    """

    def work(config: Any, options: Options) -> dict[str, Any]:
        from sscl.audit.session import audit_suspect

        require_compute(options.overrides)
        finding, record = audit_suspect(
            suspect,
            options.out,
            config.compute,
            oracle=oracle,
            bundle=bundle,
            sign=sign,
            confirmatory=not exploratory,
            occasion=occasion,
            seal_to=seal_to or (),
            overwrite=overwrite,
        )
        said = {name: record[name] for name in ("suspect", "confirmatory", "guarantees")}
        result = {**vars(finding), **said}
        if not options.json:
            print_finding(result, bundle)
        return result

    execute(Options(params, profile, set_, out, overwrite, quiet, json_, debug), work)


def _colour(line: str) -> str:
    return "yellow" if line.startswith("MISSING") else ""


def print_finding(finding: dict[str, Any], bundle: Path | None = None) -> None:
    """A verdict for people at 80 columns."""
    colour = {"trained-on-it": "red", "no evidence": "green"}.get(finding["decision"], "yellow")
    kind = "confirmatory" if finding["confirmatory"] else "exploratory: no commitment, so this proves nothing"
    out_console.print(styled(f"bold {colour}", finding["decision"], f"({kind})"))
    for line in (finding["reason"], *finding["guarantees"]):
        out_console.print(styled(_colour(line), line))
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_row("p-value", f"{finding['p_value']:.4g} ({finding['test']}, smallest possible {finding['floor']:.4g})")
    table.add_row("effect", f"{finding['effect']:.3f} (least {finding['least_effect']:g})")
    table.add_row("delta_P, WSR", f"{finding['delta_p']:.3f}, {100 * finding['wsr']:.1f} %")
    table.add_row("accuracy", f"{100 * finding['accuracy']:.1f} % on images without a mark")
    table.add_row("queries", f"{finding['queries']:,}")
    table.add_row("published test", "would accuse" if finding["published"].get("accuses") else "would not accuse")
    out_console.print(table)
    if bundle:
        out_console.print(f"Evidence: {bundle}", soft_wrap=True)


def check(
    bundle: Annotated[Path, typer.Argument(help="The evidence that an audit wrote.")],
    commitment: Annotated[Path | None, typer.Option(help="The commitment as it was published.")] = None,
    signer: Annotated[str | None, typer.Option(help="The owner's Ed25519 key, hexadecimal.")] = None,
    *,
    token: Annotated[Path | None, typer.Option(help="The time-stamp token as it was published.")] = None,
    authority: Annotated[
        Path | None, typer.Option(help="Root certificates (PEM) of the time-stamp authority; verifies the token.")
    ] = None,
    suspect: Annotated[Path | None, typer.Option(help="The model file that the evidence should be about.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="The images of a bundle that has them sealed, decrypted with age.")
    ] = None,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Derive every figure of an evidence bundle again, offline; exit code 1 if anything differs.

    Example: sscl check evidence.zip --commitment commitment.json --signer 5f0e...
    """
    with reporting(debug):
        from sscl.audit.bundle import LARGEST
        from sscl.audit.check import Expected, examined
        from sscl.audit.summary import particulars, rests_on, verdict
        from sscl.foreign import content_of, digest_of_file

        def given(path: Path | None, what: str, most: int = 1 << 20) -> bytes | None:
            return content_of(path, most, what) if path else None

        expected = Expected(
            given(commitment, "a commitment"),
            signer,
            given(token, "a time-stamp token"),
            given(authority, "a certificate"),
            digest_of_file(suspect, "a model file") if suspect else None,
            given(images, "a file of images", LARGEST),
        )
        parts, wrong = examined(bundle, expected)
        about, said = ({}, None) if wrong else (particulars(parts), verdict(parts))
        if json_:
            resting = [] if wrong else rests_on(parts, expected)
            found = {"valid": not wrong, "differences": wrong, "verdict": said, **about, "rests_on": resting}
            typer.echo(json.dumps(found, indent=2))
        elif wrong:
            for line in wrong:
                out_console.print(styled("red", "differs:", line), soft_wrap=True)
        else:
            out_console.print(styled("bold green", "VALID:", "every figure follows from the answers"), soft_wrap=True)
            out_console.print(styled("", "Verdict:", str(said)), soft_wrap=True)
            for name, value in about.items():
                out_console.print(styled("", f"{name}:", value, len(value)), soft_wrap=True)
            for line in rests_on(parts, expected):
                out_console.print(styled(_colour(line), line))
        if wrong:
            raise typer.Exit(1)
