"""``sscl verify``, ``check`` and ``power``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from sscl.cli.common import (
    Debug,
    Json,
    Options,
    Out,
    Overwrite,
    Params,
    Profile,
    Quiet,
    Set,
    escape,
    execute,
    out_console,
    reporting,
)
from sscl.cli.pipeline import run_one


def verify(
    suspect: Annotated[
        str | None, typer.Option(help="Model file, pkg.mod:function or URL; else the scenarios.")
    ] = None,
    oracle: Annotated[Path | None, typer.Option(help="YAML file that says how the suspect's API is spoken to.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Write the evidence here.")] = None,
    sign: Annotated[Path | None, typer.Option(help="Ed25519 key (PEM) that signs the evidence.")] = None,
    references: Annotated[Path | None, typer.Option(help="Folder of clean models, for the conformal test.")] = None,
    exploratory: Annotated[bool, typer.Option(help="Without the published commitment; proves nothing.")] = False,
    params: Params = None,
    profile: Profile = None,
    set_: Set = None,
    out: Out = Path("out"),
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Query the three scenarios' models (the pipeline's stage), or audit a suspect with the committed exact test.

    Example: sscl verify --out out --suspect http://host/predict --oracle api.yaml --bundle evidence.zip --sign key.pem
    """
    options = Options(params, profile, set_, out, overwrite, quiet, json_, debug)
    if suspect is None:
        run_one("verify", options)
        return

    def work(config: Any, options: Options) -> dict[str, Any]:
        from sscl.evidence.session import audit_suspect

        finding, audit = audit_suspect(
            suspect, options.out, config.compute, oracle, bundle, sign, references, not exploratory
        )
        result = {**vars(finding), "suspect": audit["suspect"], "confirmatory": audit["confirmatory"]}
        if not options.json:
            print_finding(result, bundle)
        return result

    execute(options, work)


def references(
    count: Annotated[int, typer.Option(help="How many; p cannot be below 1 / (1 + count).", min=1)] = 19,
    bank: Annotated[Path, typer.Option(help="Folder of the bank; models that are there are kept.")] = Path(
        "runs/references"
    ),
    models: Annotated[list[str] | None, typer.Option("--model", help="Architectures, in turn.")] = None,
    params: Params = None,
    profile: Profile = None,
    set_: Set = None,
    out: Out = Path("out"),
    quiet: Quiet = False,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Train clean models to hold a suspect against: `sscl verify --references FOLDER` (conformal test).

    Example: sscl references --count 19 --model baseline_cnn --model lenet5 --model mlp
    """

    def work(config: Any, options: Options) -> dict[str, Any]:
        from sscl.audit.references import build_bank
        from sscl.compute import Compute

        compute = Compute.resolve(config.compute)
        names = models or [config.user.model]
        paths = build_bank(options.out / "clean", bank, config.user, names, count, compute, config.seed)
        if not options.json:
            out_console.print(f"{len(paths)} clean models: {bank}", soft_wrap=True)
        return {"models": [str(path) for path in paths]}

    execute(Options(params, profile, set_, out, False, quiet, json_, debug), work)


def print_finding(finding: dict[str, Any], bundle: Path | None = None) -> None:
    """A verdict for people at 80 columns."""
    colour = {"trained-on-it": "red", "no evidence": "green"}.get(finding["decision"], "yellow")
    kind = "confirmatory" if finding["confirmatory"] else "exploratory: no commitment, so this proves nothing"
    out_console.print(f"[bold {colour}]{finding['decision']}[/] ({kind})")
    out_console.print(escape(finding["reason"]))
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_row("p-value", f"{finding['p_value']:.4g} ({finding['test']}, smallest possible {finding['floor']:.4g})")
    if finding["delta_p"] is not None:
        table.add_row("delta_P, WSR", f"{finding['delta_p']:.3f}, {100 * finding['wsr']:.1f} %")
    if clean := finding["conformal"]:
        text = f"{clean['p_value']:.4g} ({clean['references']} models, smallest possible {clean['floor']:.4g})"
        table.add_row("against clean models", text)
    if len(finding["adjusted"]) > 1:
        corrected = ", ".join(f"{name} {p:.4g}" for name, p in finding["adjusted"].items())
        table.add_row("corrected (Holm)", corrected)
    table.add_row("queries", f"{finding['queries']:,}")
    table.add_row("published test", "would accuse" if finding["published"].get("accuses") else "would not accuse")
    out_console.print(table)
    if bundle:
        out_console.print(f"Evidence: {bundle}", soft_wrap=True)


def check(bundle: Path, json_: Json = False, debug: Debug = False) -> None:
    """Derive every figure of an evidence bundle again, offline; exit code 1 if anything differs.

    Example: sscl check evidence.zip
    """
    with reporting(debug):
        from sscl.evidence.bundle import signer, unpack
        from sscl.evidence.check import check as differences
        from sscl.evidence.check import verdict

        wrong = differences(bundle)
        parts = {} if wrong else unpack(bundle)[0]
        key, said = (None, None) if wrong else (signer(parts), verdict(parts))
        if json_:
            found = {"valid": not wrong, "differences": wrong, "ed25519": key, "verdict": said}
            typer.echo(json.dumps(found, indent=2))
        elif wrong:
            for line in wrong:
                out_console.print(f"[red]differs:[/] {escape(line)}", highlight=False, soft_wrap=True)
        else:
            by = f"signed by Ed25519 {key}" if key else "not signed: anybody could have made it"
            out_console.print(f"[bold green]VALID[/], {by}", soft_wrap=True)
            out_console.print(f"It says: {escape(str(said))}", soft_wrap=True)
        if wrong:
            raise typer.Exit(1)


def power(
    effect: Annotated[float, typer.Option(help="Expected WSR of a model trained on the release.")] = 0.5,
    decoy: Annotated[float, typer.Option(help="Expected WSR of decoy keys.")] = 0.05,
    spread: Annotated[float, typer.Option(help="Its standard deviation between keys.")] = 0.05,
    alpha: Annotated[float, typer.Option(help="Significance level.")] = 0.05,
    target: Annotated[float, typer.Option("--power", help="Wanted power.")] = 0.95,
    decoys: Annotated[int, typer.Option(help="Decoy keys of the fixed test.")] = 199,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Say how many queries an audit needs for an effect, before the first is sent (simulated, labels only).

    Example: sscl power --effect 0.3 --decoy 0.05
    """
    with reporting(debug):
        import numpy as np

        from sscl import seeds
        from sscl.verify.power import Effect, plan

        found = plan(
            Effect(effect, decoy, spread), alpha, target, decoys, np.random.default_rng(seeds.derive(seed, "power"))
        )
        if json_:
            typer.echo(json.dumps(vars(found) if found else None, indent=2))
            return
        if found is None:
            out_console.print("Not even 1,280 images for each key give that power; the effect is too small.")
            return
        out_console.print(f"{found.images} verification images for each key:")
        out_console.print(f"  key_rank        {found.queries_fixed:,} queries, power {found.power_fixed:.2f}")
        out_console.print(
            f"  key_sequential  {found.queries_sequential:,.0f} queries on average, power {found.power_sequential:.2f}"
        )
