"""Stage ``report``: metrics.json, the plots' tables, and one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

from sscl.artifacts import digest, load_tensors, read_json, write_atomically, write_json
from sscl.config import Config, dump
from sscl.data.store import Card
from sscl.layout import EXAMPLES, FINDING, GRID, HISTORY, PAGE, RESPONSES, RESULTS
from sscl.provenance import machine, versions
from sscl.report import figures, tables
from sscl.report.published import PUBLISHED
from sscl.slots import read_note
from sscl.stages.table import STAGES


def run(
    *,
    config: Config,
    data: Path,
    surrogate: Path,
    generator: Path,
    malicious: Path,
    independent_model: Path,
    independent_watermark: Path,
    audit_malicious: Path,
    audit_independent_model: Path,
    audit_independent_watermark: Path,
    audit_attacked: Path,
    verification: Path,
    rehearsal: Path,
    state: Path,
    out: Path,
    metrics: Path,
    plots: Path,
) -> None:
    """Write ``metrics``, ``plots`` and the page with its image grid to ``out``."""
    card = Card.read(data)
    results = read_json(verification / RESULTS)
    models = {
        "surrogate": surrogate,
        "malicious": malicious,
        "independent_model": independent_model,
        "independent_watermark": independent_watermark,
    }
    audits = {
        "malicious": audit_malicious,
        "independent_model": audit_independent_model,
        "independent_watermark": audit_independent_watermark,
    }
    findings = {scenario: read_json(folder / FINDING) for scenario, folder in audits.items()}
    attacked = {path.parent.name: read_json(path) for path in sorted(audit_attacked.rglob(FINDING))}
    said = {scenario: tables.told(finding) for scenario, finding in findings.items()}
    found = _metrics(config, card, results, findings=said, attacked=attacked, timings=_timings(state))
    found |= {"rehearsal": digest(rehearsal)}
    losses = _curves({name: read_json(folder / HISTORY)["loss"] for name, folder in models.items()})
    steps = pd.DataFrame(read_json(generator / HISTORY))
    steps = steps.reindex(columns=["loss"]) if steps.empty else steps
    steps.index = pd.RangeIndex(1, len(steps) + 1, name="epoch")
    histogram = figures.histogram_table(pd.read_parquet(verification / RESPONSES))
    write_json(metrics, found)
    plots.mkdir(parents=True)
    for name, frame in {"classifiers": losses, "generator": steps, "histogram": histogram}.items():
        frame.to_csv(plots / f"{name}.csv", float_format="%.6g")
    pairs = load_tensors(verification / EXAMPLES)[0]
    shown = config.report.grid_images
    grid = figures.image_grid(pairs["clean"][:shown], pairs["marked"][:shown], config.report.amplify)
    out.mkdir(parents=True)
    write_atomically(out / GRID, grid)
    maps = figures.effect_maps(findings, tables.TITLES)
    page = _page(config, card, found, maps=maps, grid=grid, losses=losses, steps=steps, histogram=histogram)
    write_atomically(out / PAGE, page.encode())


def _metrics(
    config: Config,
    card: Card,
    results: dict[str, Any],
    *,
    findings: dict[str, Any],
    attacked: dict[str, Any],
    timings: dict[str, float],
) -> dict[str, Any]:
    verdicts, accuracy, quality = results["verdicts"], results["benign_accuracy"], results["quality"]
    return {
        "dataset": card.name,
        "release": results["release"],
        "train_images": card.counts["train"],
        "marked_images": quality["marked"],
        "benign_accuracy_clean": accuracy["independent_model"],
        "benign_accuracy_watermarked": accuracy["malicious"],
        "benign_accuracy": accuracy,
        "watermark_success_rate": verdicts["malicious"]["wsr"],
        "lpips": quality["lpips"],
        "lpips_64": quality["lpips_64"],
        "quality": quality,
        "verification": verdicts,
        "audits": findings,
        "attacks": {
            name: {
                "benign_accuracy": accuracy[name],
                "delta_p": verdicts[name]["delta_p"],
                "p_value": finding["p_value"],
                "decision": finding["decision"],
            }
            for name, finding in attacked.items()
        },
        "timings": timings,
        "config": dump(config),
        "versions": versions(),
        "machine": machine(),
    }


def _timings(state: Path) -> dict[str, float]:
    """Seconds of each stage in order, as noted where it ran; a stage restored from a cache elsewhere has none."""
    notes = (read_note(path) for path in (state / "stages").glob("*.json"))
    seconds = {note["stage"]: note["seconds"] for note in notes if note}
    return {name: seconds[name] for name in STAGES if name in seconds and name != "report"}


def _curves(series: dict[str, list[float]]) -> pd.DataFrame:
    frame = pd.DataFrame({name: pd.Series(values, dtype=float) for name, values in series.items()})
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="epoch")
    return frame


def _page(
    config: Config,
    card: Card,
    metrics: dict[str, Any],
    *,
    maps: str,
    grid: bytes,
    losses: pd.DataFrame,
    steps: pd.DataFrame,
    histogram: pd.DataFrame,
) -> str:
    source = Path(figures.__file__).with_name("page.html").read_text()
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    published = PUBLISHED.get(config.data.source, {})
    eps = getattr(config.generator.options, "eps", None)  # patches have no such option
    quality = metrics["quality"]
    seconds = [{"Stage": stage, "Seconds": f"{value:.1f}"} for stage, value in metrics["timings"].items()]
    return template.render(
        table=tables.html_table,
        name=card.name,
        method=config.generator.method,
        marked=f"{metrics['marked_images']:,}",
        total=f"{metrics['train_images']:,}",
        rate=f"{100 * metrics['marked_images'] / metrics['train_images']:.1f} % of the set",
        budget="pixels without a bound" if eps is None else f"eps {255 * eps:g}/255",
        seed=config.seed,
        accused=tables.false_accusations(metrics),
        scenarios=tables.scenario_rows(metrics),
        comparison=tables.comparison_rows(metrics, published),
        published=published,
        tau=config.verify.tau,
        alpha=config.verify.alpha,
        audit_alpha=f"{config.audit.alpha:g}",
        clean_share=f"{100 * config.attacks.clean_share:g} %",
        images=f"{metrics['verification']['malicious']['images']:,}",
        findings={tables.TITLES[scenario]: finding for scenario, finding in metrics["audits"].items()},
        maps=maps,
        guarantees=metrics["audits"]["malicious"].get("guarantees", []),
        attacks=tables.attack_rows(metrics),
        grid=figures.data_uri(grid),
        grid_width=config.report.grid_images * (figures.CELL + figures.GAP),
        amplify=f"{config.report.amplify:g}",
        psnr=f"{quality['psnr']:.1f}",
        linf=f"{255 * quality['linf']:.0f}",
        cosine=f"{quality['residual_cosine']:.2f}",
        histogram=figures.histograms(histogram, tables.TITLES),
        classifier_losses=figures.loss_curves(losses, "loss"),
        generator_losses=figures.loss_curves(steps, "loss"),
        timings=seconds,
        config=yaml.safe_dump(metrics["config"], sort_keys=False),
        environment=yaml.safe_dump({"versions": metrics["versions"], "machine": metrics["machine"]}, sort_keys=False),
    )
