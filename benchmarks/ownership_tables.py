"""The tables of the docs, from the rows of ``benchmarks/ownership.py``, ``strangers.py`` and ``peers.py``.

python benchmarks/ownership_tables.py
python benchmarks/ownership_tables.py --results docs/results/real.json
python benchmarks/ownership_tables.py --results docs/results/peers.json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from scipy import stats

from sscl.peers import PEERS
from sscl.strangers import STRANGERS

RESULTS = Path("docs/results/code.json")
HEAD = (
    "profile, network",
    "marked",
    "access",
    "seeds",
    "p at most",
    "p <= 0.001",
    "published p",
    "delta_P",
    "BA",
    "BA lost",
)


def main(results: Annotated[Path, typer.Option(help="Where the rows are.")] = RESULTS) -> None:
    """Print guilty models, detectors, removal attacks, innocents, strangers and peers: what there are rows of."""
    rows = pd.DataFrame(json.loads(results.read_text()))
    kinds = {"guilty": guilty, "removal": removal, "innocents": innocents, "strangers": strangers, "peers": peers}
    for kind, show in kinds.items():
        some = rows[rows["command"].str.startswith(kind)]
        if len(some):
            print("\n".join(show(some)), end="\n\n")


def guilty(rows: pd.DataFrame) -> list[str]:
    """Models that were trained on a release, over seeds; then the detectors."""
    lines = [line(*HEAD, "LPIPS at most", "PSNR at least"), "|---" * (len(HEAD) + 2) + "|"]
    same = ["command", "architecture", "rate", "access"]
    clean = rows[rows["suspect"].eq("clean")][[*same, "seed", "ba"]]
    released = rows[rows["suspect"].eq("released")].merge(clean, "left", [*same, "seed"], suffixes=("", "_clean"))
    groups: Iterable[tuple[Any, pd.DataFrame]] = released.groupby(same)
    for (command, model, rate, access), group in groups:
        lost = 100 * (group["ba_clean"] - group["ba"]).dropna()
        some = f"; {len(lost)} of {len(group)}" if len(lost) < len(group) else ""  # seeds with a clean model
        lines.append(
            line(
                f"{settings(command)}, {model}",
                f"{100 * rate:.2g} %",
                access,
                len(group),
                f"{group['p'].max():.2g}",
                (group["p"] <= 0.001).sum(),
                shown(group["p_published"], lambda found: f"{found.min():.2g} to {found.max():.2g}"),
                shown(group["delta_p"], lambda found: f"{found.mean():.3f}"),
                f"{100 * group['ba'].mean():.1f} %",
                f"{lost.mean():.2f} ({lost.min():.2f} to {lost.max():.2f}{some})" if len(lost) else "-",
                f"{group['lpips'].max():.4f}",
                shown(group["psnr"], lambda found: f"{found.min():.1f}"),
            )
        )
    lines += ["", line("profile, network", "detector", "AUROC"), "|---|---|---|"]
    found: Iterable[tuple[Any, pd.DataFrame]] = rows[rows["detector"].notna()].groupby(
        ["command", "architecture", "detector"]
    )
    for (command, model, detector), group in found:
        scores = group["auroc_within_class"]
        lines.append(
            line(
                f"{settings(command)}, {model}",
                detector,
                f"{scores.mean():.2f} ({scores.min():.2f} to {scores.max():.2f})",
            )
        )
    return lines


def shown(column: pd.Series[float], summary: Callable[[pd.Series[float]], str]) -> str:
    """A dash where some rows were measured without this figure."""
    return summary(column) if column.notna().all() else "-"


def settings(command: str) -> str:
    """The profile, and what of it was changed, from a row's command."""
    profile, *changes = command.split()[1:]
    split = (change.partition("=") for change in changes if not change.startswith("user."))
    return ", ".join([profile, *(f"{name.rpartition('.')[2]} {value}" for name, _, value in split)])


def removal(rows: pd.DataFrame) -> list[str]:
    """One table a dataset: attacks down, profiles and their settings across; each p is the largest over seeds."""
    lines: list[str] = []
    for _, some in rows.groupby("dataset"):
        across = across_of(some)
        lines += [line("attack", "strength", *heads(across)), "|---" * (2 + len(across)) + "|"]
        attacks: Iterable[tuple[Any, pd.DataFrame]] = some.groupby(["attack", "strength"])
        for (attack, strength), found in attacks:
            lines.append(line(attack, f"{strength:g}", *cells(found, across)))
        lines.append("")
    return lines[:-1]


def strangers(rows: pd.DataFrame) -> list[str]:
    """What strangers do with a release, profiles and their settings across; each p is the largest over seeds."""
    across = across_of(rows)
    lines = [line("stranger", *heads(across)), "|---" * (1 + len(across)) + "|"]
    for name, found in rows.groupby("suspect"):
        lines.append(line(f"`{name}`: {STRANGERS[str(name)].about}", *cells(found, across)))
    return lines


def across_of(rows: pd.DataFrame) -> dict[str, int]:
    """How many seeds every command was run with."""
    return {str(command): found["seed"].nunique() for command, found in rows.groupby("command")}


def heads(across: dict[str, int]) -> Iterator[str]:
    """Of columns, one a command."""
    return (f"{settings(command)} ({count_of(seeds)})" for command, seeds in across.items())


def cells(found: pd.DataFrame, across: dict[str, int]) -> Iterator[str]:
    """Of one row, below these heads."""
    return (over_seeds(found[found["command"].eq(command)], seeds) for command, seeds in across.items())


def over_seeds(found: pd.DataFrame, seeds: int) -> str:
    """p at most from each access, delta_P from probabilities and benign accuracy; of how many models, unless all."""
    if found.empty:
        return ""
    told, labels = (found[found["access"].eq(access)] for access in ("probabilities", "labels"))
    some = f" ({count_of(len(told))})" if len(told) < seeds else ""
    both = f"{told['p'].max():.2g} / {labels['p'].max():.2g}"
    moved = shown(told["delta_p"], lambda effect: f"{effect.mean():.2f}")
    return f"{both}, {moved}, {100 * told['ba'].mean():.1f} %{some}"


def count_of(models: int) -> str:
    """``1 model``, ``5 models``."""
    return f"{models} model" + "s" * (models > 1)


def innocents(rows: pd.DataFrame) -> list[str]:
    """How many are accused, at two levels, and what chance allows (binomial 95 %)."""
    tests = ("p", "p_plain", "p_sequential", "p_grinding", "p_published")
    lines = [line("access", "test", "models", "accused at 0.05", "by chance", "at 0.001", "KS p"), "|---" * 7 + "|"]
    for access, some in rows.groupby("access"):
        for name in tests if access == "probabilities" else tests[:3] + tests[4:]:  # one word is ground out a model
            p = some[name].to_numpy(dtype=float)
            low, high = stats.binom.interval(0.95, len(p), 0.05)
            uniform = stats.kstest(p, "uniform").pvalue
            accused = ((p <= 0.05).sum(), f"{low:.0f} to {high:.0f}", (p <= 0.001).sum(), f"{uniform:.2g}")
            lines.append(line(access, name, len(p), *accused))
    return lines


def peers(rows: pd.DataFrame) -> list[str]:
    """The code beside other methods."""
    lines = [line("profile", "method", "access", "queries", "seeds", "p, released", "p, innocent"), "|---" * 7 + "|"]
    groups: Iterable[tuple[Any, pd.DataFrame]] = rows.groupby(["command", "watermark", "access", "queries"])
    for (command, method, access, queries), group in groups:
        ranges = []
        for suspect in ("released", "clean"):
            found = group.loc[group["suspect"].eq(suspect), "p"]
            ranges.append(f"{found.min():.2g} to {found.max():.2g}" if len(found) > 1 else f"{found.max():.2g}")
        lines.append(line(settings(command), peer(method), access, queries, group["seed"].nunique(), *ranges))
    more = rows[~rows["suspect"].isin(["released", "clean"])]
    if more.empty:
        return lines
    lines += ["", line("profile", "method", "access", "queries", "innocents", "p <= 0.05", "p <= 0.001")]
    lines.append("|---" * 7 + "|")
    others: Iterable[tuple[Any, pd.DataFrame]] = more.groupby(["command", "watermark", "access", "queries"])
    for (command, method, access, queries), group in others:
        accused = (len(group), (group["p"] <= 0.05).sum(), (group["p"] <= 0.001).sum())
        lines.append(line(settings(command), peer(method), access, queries, *accused))
    return lines


def peer(method: str) -> str:
    """A method's name, and whether its p-value bounds how often innocent models are accused."""
    return f"`{method}`" if method not in PEERS or PEERS[method].exact else f"`{method}` (not exact)"


def line(*cells: Any) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    typer.run(main)
