"""Stage ``encoder_report``: what strangers built on the encoder, and whether the audits find it there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from sscl.artifacts import read_header, read_json, write_atomically, write_json
from sscl.compute import Compute
from sscl.config import Config, dump
from sscl.data.spread import spread
from sscl.data.store import Card, load_split
from sscl.layout import FINDING, HISTORY, MODEL, PAGE
from sscl.models.features import all_features
from sscl.models.io import load_classifier
from sscl.provenance import machine, versions
from sscl.report import figures
from sscl.report.tables import encoder_rows, html_table, told
from sscl.stages.table import DOWNSTREAM
from sscl.watermarks.io import GENERATOR, load_watermark
from sscl.watermarks.ownership_code import require_marks

SHOWN = 300  # images in the picture of features


def run(
    *,
    config: Config,
    data: Path,
    surrogate: Path,
    encoder: Path,
    watermark: Path,
    model_linear: Path,
    model_full: Path,
    model_pruning: Path,
    model_never_imprinted: Path,
    audit_linear: Path,
    audit_full: Path,
    audit_pruning: Path,
    audit_never_imprinted: Path,
    out: Path,
    metrics: Path,
) -> None:
    """Write ``metrics``, and the page to ``out``."""
    models = dict(zip(DOWNSTREAM, (model_linear, model_full, model_pruning, model_never_imprinted), strict=True))
    audits = dict(zip(DOWNSTREAM, (audit_linear, audit_full, audit_pruning, audit_never_imprinted), strict=True))
    card = Card.read(data)
    findings = {name: read_json(folder / FINDING) for name, folder in audits.items()}
    found = {
        "dataset": card.name,
        "benign_accuracy_clean": read_json(surrogate / HISTORY)["benign_accuracy"],
        "benign_accuracy_imprinted": _accuracy(encoder),
        "benign_accuracy": {name: _accuracy(folder) for name, folder in models.items()},
        "audits": {name: told(finding) for name, finding in findings.items()},
        "config": dump(config),
        "versions": versions(),
        "machine": machine(),
    }
    write_json(metrics, found)
    out.mkdir(parents=True)
    titles = {name: name.replace("_", " ") for name in DOWNSTREAM}
    maps, picture = figures.effect_maps(findings, titles), _picture(config, encoder, watermark, data)
    page = _page(card, found, titles, maps=maps, picture=picture, history=read_json(surrogate / HISTORY))
    write_atomically(out / PAGE, page.encode())


def _accuracy(folder: Path) -> float:
    return float(read_header(folder / MODEL)[1]["benign_accuracy"])


def _page(
    card: Card, found: dict[str, Any], titles: dict[str, str], *, maps: str, picture: str, history: dict[str, Any]
) -> str:
    source = Path(figures.__file__).with_name("encoder.html").read_text()
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    curve = pd.Series(dict(history.get("knn", [])), dtype=float).to_frame("kNN accuracy")
    curve.index.name = "epoch"
    return template.render(
        name=card.name,
        rows=html_table(encoder_rows(found)),
        findings={titles[name]: finding for name, finding in found["audits"].items()},
        guarantees=found["audits"]["linear"]["guarantees"],
        maps=Markup(maps),
        features=Markup(picture),
        curve=Markup(figures.loss_curves(curve, "share of images")),
        config=yaml.safe_dump(found["config"], sort_keys=False),
        environment=yaml.safe_dump({"versions": found["versions"], "machine": found["machine"]}, sort_keys=False),
    )


def _picture(config: Config, encoder: Path, watermark: Path, data: Path) -> str:
    """Features of clean images and of the same under the first mark, on the two main axes of both."""
    compute, test = Compute.set_up(config.compute), load_split(data, "test")
    model = compute.place(load_classifier(encoder / MODEL)[0])
    loaded, state = load_watermark(watermark / GENERATOR, test.classes, compute)
    marks = require_marks(loaded)
    some = test.subset(spread(len(test), SHOWN))
    group = int(marks.targets(state)[0])
    clean = all_features(model, some.images, compute)
    marked = all_features(model, marks.asked(some.images, 0, state), compute)
    return figures.feature_map(clean.numpy(), marked.numpy(), (some.labels == group).numpy(), test.class_names[group])
