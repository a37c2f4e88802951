"""The result table, once as plain cells for the terminal, Prefect and the HTML page alike."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup, escape

TITLES = {
    "malicious": "Malicious (trained on the release)",
    "independent_model": "Ind-M (clean model)",
    "independent_watermark": "Ind-W (another watermark)",
}
SECRET = ("word", "effects")  # of a finding: what marks do to a model that learnt the word shows the word


def told(finding: dict[str, Any]) -> dict[str, Any]:
    """What metrics may say of a finding: they go to logs."""
    return {name: value for name, value in finding.items() if name not in SECRET}


def percent(value: float | None) -> str:
    """A share in [0, 1] as a percentage with two decimals."""
    return "-" if value is None else f"{100 * value:.2f} %"


def decimals(value: float | None) -> str:
    """Four decimals."""
    return "-" if value is None else f"{value:.4f}"


def p_text(value: float) -> str:
    """A p-value for people: an underflow is not a zero."""
    return "< 1e-300" if value < 1e-300 else f"{value:.3g}"


def exact_p_text(finding: dict[str, Any]) -> str:
    """The exact test's p-value; a dash where the method has none."""
    return "-" if finding["p_value"] is None else f"{finding['p_value']:.3g}"


def scenario_rows(metrics: dict[str, Any]) -> list[dict[str, str]]:
    """One row a scenario: BA, WSR, delta_P, the published test with its mistakes named, the exact test."""
    rows = []
    for scenario, title in TITLES.items():
        verdict = metrics["verification"][scenario]
        guilty = scenario == "malicious"
        says = "trained on it" if verdict["rejected"] else "no evidence"
        flaw = "" if verdict["rejected"] == guilty else " (missed)" if guilty else " (FALSE ACCUSATION)"
        rows.append(
            {
                "Suspicious model": title,
                "BA": percent(metrics["benign_accuracy"][scenario]),
                "WSR": percent(verdict["wsr"]),
                "delta_P": decimals(verdict["delta_p"]),
                "p": p_text(verdict["p_value"]),
                "Published test says": says + flaw,
                "Exact p": exact_p_text(metrics["audits"][scenario]),
                "Verdict": metrics["audits"][scenario]["decision"],
            }
        )
    return rows


def attack_rows(metrics: dict[str, Any]) -> list[dict[str, str]]:
    """One row for the model trained on the release, and one after each attempt to remove the watermark."""
    untouched = {
        "benign_accuracy": metrics["benign_accuracy"]["malicious"],
        "delta_p": metrics["verification"]["malicious"]["delta_p"],
        "p_value": metrics["audits"]["malicious"]["p_value"],
        "decision": metrics["audits"]["malicious"]["decision"],
    }
    return [
        {
            "Attack": name.replace("_", " "),
            "BA": percent(found["benign_accuracy"]),
            "delta_P": decimals(found["delta_p"]),
            "Exact p": exact_p_text(found),
            "Verdict": found["decision"],
        }
        for name, found in {"none": untouched, **metrics["attacks"]}.items()
    ]


def comparison_rows(metrics: dict[str, Any], published: dict[str, float]) -> list[dict[str, str]]:
    """Ours beside the paper's."""
    malicious = metrics["verification"]["malicious"]
    ours = [
        ("BA, clean model", percent(metrics["benign_accuracy_clean"]), percent(published.get("ba_clean"))),
        ("BA, watermarked model", percent(metrics["benign_accuracy_watermarked"]), percent(published.get("ba"))),
        ("WSR", percent(metrics["watermark_success_rate"]), percent(published.get("wsr"))),
        ("delta_P", decimals(malicious["delta_p"]), decimals(published.get("delta_p"))),
        ("LPIPS, native size", decimals(metrics["lpips"]), decimals(published.get("lpips"))),
        ("LPIPS, resized to 64 px", decimals(metrics["lpips_64"]), "-"),
    ]
    return [{"Figure": name, "This run": value, "Paper": paper} for name, value, paper in ours]


def false_accusations(metrics: dict[str, Any]) -> list[str]:
    """Titles of the innocent scenarios that the published test accuses."""
    return [TITLES[s] for s in TITLES if s != "malicious" and metrics["verification"][s]["rejected"]]


def encoder_rows(metrics: dict[str, Any]) -> list[dict[str, str]]:
    """What was built on an encoder, and what the audit of each says; the owner's own encoder first."""
    own = {
        "Classifier": "owner's, before and after",
        "BA": f"{percent(metrics['benign_accuracy_clean'])}, {percent(metrics['benign_accuracy_imprinted'])}",
        "Exact p": "-",
        "Verdict": "-",
    }
    return [own] + [
        {
            "Classifier": name.replace("_", " "),
            "BA": percent(metrics["benign_accuracy"][name]),
            "Exact p": exact_p_text(found),
            "Verdict": found["decision"],
        }
        for name, found in metrics["audits"].items()
    ]


def html_table(rows: list[dict[str, str]]) -> Markup:
    """Rows with one key a column; nothing for none."""
    if not rows:
        return Markup("")
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(v)}</td>" for v in row.values()) + "</tr>" for row in rows)
    return Markup(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
