"""DVC and Prefect drive the same stages and never compute the same thing twice."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo, lock_repo
from dvc.rwlock import rwlock
from prefect.client.orchestration import get_client

from flows.audit import audit
from flows.audits import audits, keep_day, occasion_of, spelt
from flows.evaluate import evaluate
from flows.protect import STAGES as PROTECT
from flows.protect import protect
from flows.release import release
from sscl.artifacts import digest
from sscl.audit.bundle import unpack
from sscl.audit.check import check
from sscl.audit.summary import verdict
from sscl.config import Config
from sscl.errors import ConfigError, InputError
from sscl.layout import Root
from sscl.package.files import files_of
from sscl.params import load
from sscl.provenance import code_digest
from sscl.release import reader
from sscl.release.config import ReleaseConfig, load_release
from sscl.release.create import create
from sscl.release.errors import GateError
from sscl.release.objects import Objects
from sscl.release.sealed import new_identity
from sscl.stages.table import STAGES
from tasks.audit import UnansweredError, read_suspects
from tasks.parameters import set_parameters
from tasks.pipeline import BusyError, Pipeline, _failure
from tasks.results import publish_results
from tests.conftest import EASY, KEY, ROOT, shell
from tests.kept import assert_not_kept, database_dump


def executed(folder: Path) -> dict[str, float]:
    """When each stage last ran for real (its note beside the outputs)."""
    return {p.stem: p.stat().st_mtime for p in (folder / "out/.sscl/stages").glob("*.json")}


def changed(before: dict[str, float], folder: Path) -> set[str]:
    return {name for name, at in executed(folder).items() if before.get(name) != at}


def test_dvc_repro_ran_every_stage_once(workspace: Path) -> None:
    assert set(executed(workspace)) == set(STAGES)
    before = executed(workspace)
    assert "Data and pipelines are up to date." in shell(workspace, "dvc", "repro")
    assert changed(before, workspace) == set()


def test_dvc_shows_metrics_and_plots(workspace: Path) -> None:
    metrics = json.loads(shell(workspace, "dvc", "metrics", "show", "--json"))
    shown = metrics[""]["data"]["out/metrics.json"]["data"]
    assert (
        shown["watermark_success_rate"]
        == json.loads((workspace / "out/metrics.json").read_text())["watermark_success_rate"]
    )
    shell(workspace, "dvc", "plots", "show", "-o", "plots_page")
    page = (workspace / "plots_page/index.html").read_text()
    assert "independent_watermark" in page
    assert "Classifier losses" in page
    assert "Share of marked images" in page
    figures = {path.stem for path in (ROOT / "docs/results/figures").glob("*.svg")}
    assert figures
    assert {
        path.stem.split("_docs_results_figures_")[-1] for path in (workspace / "plots_page").rglob("*.svg")
    } >= figures


def test_a_flow_after_dvc_computes_nothing_and_the_other_way_round(workspace: Path, server: None) -> None:
    before = executed(workspace)
    result = evaluate(root=str(workspace))
    assert changed(before, workspace) == set()
    metrics = json.loads((workspace / "out/metrics.json").read_text())
    assert result == {name: metrics[name] for name in result}
    flow = evaluate(root=str(workspace), overrides=["verify.tau=0.3"])
    assert flow["dataset"] == result["dataset"]
    assert changed(before, workspace) == {"verify", "report"}
    before = executed(workspace)
    assert "Data and pipelines are up to date." in shell(workspace, "dvc", "repro")
    assert changed(before, workspace) == set()


def test_an_experiment_changes_only_what_depends_on_it(workspace: Path) -> None:
    before = executed(workspace)
    shell(workspace, "dvc", "exp", "run", "-S", "verify.alpha=0.01")
    assert changed(before, workspace) == {"verify", "report"}
    assert json.loads((workspace / "out/metrics.json").read_text())["config"]["verify"]["alpha"] == 0.01


def test_deleted_outputs_are_restored_not_computed(workspace: Path, server: None) -> None:
    protect(root=str(workspace))
    before = executed(workspace)
    shutil.rmtree(workspace / "out/private/generator/release")
    manifests = protect(root=str(workspace))
    assert (workspace / "out/private/generator/release/generator.safetensors").is_file()
    assert changed(before, workspace) == set()
    assert manifests["prepare"]["outs"]["out/clean"]["md5"].endswith(".dir")


def test_an_edit_after_dvc_reaches_the_stages_that_it_concerns(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC does not see an edit of a stage's code before its stage ``code`` has run again."""
    shutil.rmtree(workspace / "out/.sscl/dvc", ignore_errors=True)  # as after a `dvc repro` by hand
    pipeline = Pipeline(workspace)
    assert pipeline.is_current("report")
    shutil.rmtree(workspace / "out/.sscl/dvc")

    def edited(module: str) -> str:
        return "edited" if module == "sscl.stages.report" else code_digest(module)

    monkeypatch.setattr("sscl.runner.code_digest", edited)
    monkeypatch.setattr("tasks.pipeline.code_digest", edited)
    assert pipeline.is_current("prepare")
    assert not pipeline.is_current("report")
    assert pipeline._stale_code("prepare") == []
    assert pipeline._stale_code("report") == ["code"]


def test_what_dvc_does_not_see_is_made_again(workspace: Path, tmp_path: Path) -> None:
    """A changed source image: DVC skips the stage, whose outputs are of another content key."""
    folder = Path(shutil.copytree(workspace, tmp_path / "workspace", symlinks=True))
    data = Path(shutil.copytree(str(load(folder / "params.yaml").data.path), tmp_path / "data"))
    set_parameters(folder / "params.yaml", None, [f"data.path={data}"])
    pipeline = Pipeline(folder)
    pipeline.reproduce("prepare", 120)
    assert pipeline.is_current("prepare")
    for path in data.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(1, 1))
    assert not pipeline.is_current("prepare")
    pipeline.reproduce("prepare", 120)
    assert pipeline.is_current("prepare")


def test_a_whole_section_goes_into_the_profile_in_force(workspace: Path, tmp_path: Path) -> None:
    """The defect: it changed the demo's."""
    params = Path(shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml"))
    demo = load(params, "demo").user
    set_parameters(params, "cifar10-small", ["rehearsal={epochs: 3}", "user.epochs=5"])
    assert (load(params).rehearsal.epochs, load(params).user.epochs) == (3, 5)
    assert load(params, "demo").user == demo
    assert load(params, "demo").rehearsal.epochs is None


def test_an_override_goes_where_the_demos_own_overlay_would_mask_it(tmp_path: Path) -> None:
    """The defect: it was written above, and nothing changed."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["profiles"]["demo"]["user"] = {"epochs": 7}
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump(raw))
    set_parameters(params, "demo", ["user.epochs=2", "user.batch_size=8"])
    assert (load(params, "demo").user.epochs, load(params, "demo").user.batch_size) == (2, 8)


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("contrastive-demo", r"audit\.protects: encoder, but this pipeline protects one dataset"),
        ("mine", r"profiles\.mine: lacks data, which DVC follows; add `data: \{\}`"),
    ],
)
def test_a_profile_that_the_pipeline_cannot_run_changes_nothing(profile: str, said: str, tmp_path: Path) -> None:
    """The defects: hours of training before a stage refused it, and DVC's own message."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["profiles"]["mine"] = {"user": {"epochs": 2}}
    params = tmp_path / "params.yaml"
    params.write_text(before := yaml.safe_dump(raw, sort_keys=False))
    with pytest.raises(ConfigError, match=said):
        set_parameters(params, profile, [])
    assert params.read_text() == before


def test_null_in_a_list_of_suspects_says_nothing(tmp_path: Path) -> None:
    """The defect: it was the text None, and a file of that name was missing every night."""
    (tmp_path / "suspects.yaml").write_text("- {suspect: model.onnx, oracle: null}")
    assert read_suspects(tmp_path / "suspects.yaml") == [{"suspect": "model.onnx"}]
    (tmp_path / "suspects.yaml").write_text("- {suspect: null}")
    with pytest.raises(InputError, match="expected a list such as"):
        read_suspects(tmp_path / "suspects.yaml")


def test_two_stages_run_at_the_same_time(workspace: Path) -> None:
    """DVC locks what a stage reads, so another stage may not write it."""
    with Repo(str(workspace)) as repo:
        read = [str(workspace / "out/code/simulate"), str(workspace / "out/public/release")]
        with rwlock(repo.tmp_dir, repo.fs, "sscl stage simulate malicious", read, [], False):
            Pipeline(workspace).reproduce("simulate@independent_model", 120.0)


def test_artifacts_show_in_prefect_and_secrets_do_not(workspace: Path, server: None) -> None:
    evaluate(root=str(workspace))

    async def keys() -> set[str | None]:
        async with get_client() as client:
            return {artifact.key for artifact in await client.read_artifacts()}

    shown = asyncio.run(keys())
    assert {"ownership-verification", "progress-generator-release"} <= shown
    assert "image-grid" not in shown  # under a secret key
    text = database_dump()
    assert_not_kept(text, workspace / "out")
    assert "secret.json" not in text


@pytest.mark.parametrize(("key_file", "shown"), [(None, ["image-grid"]), ("private/release.key", [])])
def test_amplified_marks_are_shown_of_a_study_alone(
    key_file: str | None, shown: list[str], workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect keeps what it shows, and from the amplified marks of a release its key could be read."""
    made: list[str] = []
    monkeypatch.setattr("tasks.results.create_table_artifact", lambda *_, **__: None)
    monkeypatch.setattr("tasks.results.create_markdown_artifact", lambda _, key, **__: made.append(key))
    shutil.copytree(workspace / "out/report", tmp_path / "out/report")
    metrics = json.loads((workspace / "out/metrics.json").read_text())
    metrics["config"]["key_file"] = key_file
    (tmp_path / "out/metrics.json").write_text(json.dumps(metrics))
    publish_results.fn(str(tmp_path))
    assert made == shown


def test_a_bad_parameter_stops_the_flow_and_leaves_the_file(workspace: Path, server: None) -> None:
    before = (workspace / "params.yaml").read_text()
    with pytest.raises(ConfigError, match=r"verify\.tua: unknown key; did you mean 'tau'\?"):
        evaluate(root=str(workspace), overrides=["verify.tua=0.3"])
    assert (workspace / "params.yaml").read_text() == before


def test_a_failing_stage_says_why(workspace: Path, server: None) -> None:
    before = (workspace / "params.yaml").read_text()
    with pytest.raises(InputError, match=r"generator@\w+: target_class: 9 does not exist"):
        protect(root=str(workspace), overrides=["target_class=9"])
    (workspace / "params.yaml").write_text(before)
    protect(root=str(workspace))


@pytest.mark.parametrize("code", [-9, 137], ids=["itself", "as a fork"])
def test_a_killed_stage_says_what_it_lacked(code: int, tmp_path: Path) -> None:
    printed = (
        f"> sscl stage train\nERROR: failed to reproduce 'train': failed to run: sscl stage train, exited with {code}\n"
    )
    assert "train: killed, most often for lack of memory" in str(_failure("train", tmp_path / "none", printed))


def test_a_taken_lock_is_worth_another_try(workspace: Path) -> None:
    with Repo(str(workspace)) as repo, lock_repo(repo), pytest.raises(BusyError, match="DVC's lock is taken"):
        Pipeline(workspace).reproduce("prepare", 60.0)


def test_parameters_keep_their_comments_and_go_where_they_count(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    original = (ROOT / "params.yaml").read_text()
    path.write_text(original)
    for profile in (None, "demo"):
        set_parameters(path, profile, [])
        assert path.read_text() == original
    set_parameters(path, "cifar10-small", ["user.epochs=2"])
    text = path.read_text()
    lines = zip(original.splitlines(), text.splitlines(), strict=True)
    changed = [new.partition("#")[0].strip() for old, new in lines if new != old]
    assert changed == ["profile: cifar10-small", "user: {<<: *resnet8, epochs: 2}"]
    from sscl.params import load

    assert load(path).user.epochs == 2
    assert load(path).surrogate.epochs == 8
    assert load(path, "demo").user.epochs == 3
    assert load(path, "cifar10").surrogate.epochs == 8  # the same block of `shared`
    assert load(path).data.source == "cifar10"


def test_no_pipeline_here(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no DVC pipeline here; run the flow from the checkout"):
        Pipeline(tmp_path)


def test_protect_makes_whatever_its_stages_need() -> None:
    made: set[str] = set()
    for name in PROTECT:
        assert set(STAGES[name].inputs.values()) <= made, name
        made |= set(STAGES[name].outputs.values())
    assert {"public/release", "private/watermark/release"} <= made


def test_the_audit_flow_gives_a_verdict_and_evidence(
    workspace: Path, server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspect = str(workspace / "out/models/malicious/model.safetensors")
    bundle = workspace / "out/private/audits/suspect.zip"
    announced: list[str] = []
    monkeypatch.setattr("flows.audit.announce_verdict", lambda name, verdict: announced.append(verdict["adjusted"]))
    found = audit(suspect, bundle=str(bundle), root=str(workspace))
    assert announced == [found["p_value"]]
    assert found["confirmatory"] is True
    assert check(bundle) == []
    assert verdict(unpack(bundle)[0]).startswith(f"{found['decision']} (confirmatory)")


def test_audits_ask_every_suspect_of_the_list(
    workspace: Path, server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not answer stops none; both verdicts have their evidence, and are corrected for the list."""
    announced: dict[str, float] = {}
    monkeypatch.setattr(
        "flows.audits.announce_verdict", lambda name, found: announced.update({name: found["adjusted"]})
    )
    models = [f"out/models/{name}/model.safetensors" for name in ("malicious", "independent_model")]
    suspects = [str(workspace / models[0]), "missing.onnx", str(workspace / models[1])]
    (tmp_path / "suspects.yaml").write_text(yaml.safe_dump([{"suspect": suspect} for suspect in suspects]))
    before = set((workspace / "out/private/audits").glob("*.zip"))
    with pytest.raises(UnansweredError, match=r"1 suspects were not audited, 2 were: missing\.onnx: InputError: "):
        audits(str(tmp_path / "suspects.yaml"), root=str(workspace))
    assert set(announced) == {suspects[0], suspects[2]}
    bundles = set((workspace / "out/private/audits").glob("*.zip")) - before
    assert len(bundles) == 2
    assert [check(bundle) for bundle in bundles] == [[], []]
    (tmp_path / "suspects.yaml").write_text(yaml.safe_dump([{"suspect": suspects[0]}]))
    (found,) = audits(str(tmp_path / "suspects.yaml"), root=str(workspace))
    assert found["adjusted"] == found["p_value"]
    assert_not_kept(database_dump(), workspace / "out")


def test_one_host_is_one_suspect_however_it_is_spelt() -> None:
    """The defect: alpha began anew for another spelling."""
    assert spelt("HTTP://Host.Example/Predict?A=b") == spelt("http://host.example/Predict?A=b")
    assert spelt("http://host/Predict") != spelt("http://host/predict")
    assert spelt("Models/A.onnx") == "Models/A.onnx"


def test_the_days_of_audits_are_kept_wherever_their_bundles_go(tmp_path: Path) -> None:
    """The defect: who moved the bundles to an archive began to spend alpha again."""
    out, seen = Root(tmp_path), []
    for day in ("2026-01-01", "2026-01-02", "2026-01-02", "2026-01-03"):
        seen.append(occasion_of(out, "a", day))
        keep_day(out, "a", day)
    assert seen == [1, 2, 2, 3]
    assert occasion_of(out, "a", "2026-01-04") == 4
    assert occasion_of(out, "a", "2026-01-05") == 4, "a night without an audit costs nothing"
    assert occasion_of(out, "a", "2025-06-01") == 4, "the clock was set back, and nothing is spent twice"
    assert occasion_of(out, "b", "2026-01-03") == 1
    out.audits.mkdir(parents=True)
    (out.audits / "2025-12-31-a.zip").write_bytes(b"")
    assert occasion_of(out, "a", "2026-01-06") == 5


def test_the_release_flow_publishes_and_keeps_the_secret(
    workspace: Path, server: None, bucket: str, tmp_path: Path
) -> None:
    """The pipeline, which runs under a key file, the gate, the publication; Prefect's database has no key material."""
    folder = Path(shutil.copytree(workspace, tmp_path / "workspace", symlinks=True))
    identity, public = new_identity()
    sets = [f"release.{name}=s3://{bucket}/{name}" for name in ("public", "private", "copies")]
    sets += EASY
    sets += [f"release.seal_to=[{public}]"]
    with pytest.raises(GateError, match=r"quality gate: lpips .* nothing was published"):
        release("1.0.0", overrides=[*sets, "release.limits.lpips=0.0"], root=str(folder))
    assert list(Objects(f"s3://{bucket}").list("")) == []
    done = release("1.0.0", overrides=sets, root=str(folder))
    assert done["sent"] > 0
    (manifest,) = reader.published(Objects(f"s3://{bucket}/public"))
    assert (manifest.version, manifest.digest) == ("1.0.0", done["digest"])
    assert reader.verify(Objects(f"s3://{bucket}/public"), manifest, 2) == []
    assert_not_kept(database_dump(), folder / "out", identity, KEY.decode())


def test_a_release_takes_the_profiles_section_and_the_checkouts_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defects: another profile's section was looked at, and another folder's key."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    seen = []

    def looked_at(config: Config, section: ReleaseConfig, version: str) -> None:
        seen.append(section)
        raise InputError("enough")

    monkeypatch.setattr("sscl.release.create.require_publishable", looked_at)
    with pytest.raises(InputError, match="enough"):
        release.fn("1.0.0", "cifar10-small", ["release.sign=private/sign.pem"], str(tmp_path))
    assert seen[0].limits.lpips == 0.01
    assert seen[0].sign == str(tmp_path / "private/sign.pem")


def test_only_what_may_be_published_goes_to_dvcs_public_remote(workspace: Path, tmp_path: Path) -> None:
    """Real pushes; also where a private output is named."""
    folder = Path(shutil.copytree(workspace, tmp_path / "workspace", symlinks=True))
    name_remotes(folder, tmp_path)
    shell(folder, "dvc", "push", "-r", "public")
    shell(folder, "dvc", "push", "-r", "public", "out/private/watermark/release", "out/clean")
    lock = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    outs = {out["path"]: out["md5"] for stage in lock.values() for out in stage["outs"]}
    pushed = {path.parent.name + path.name for path in (tmp_path / "public/files/md5").rglob("*") if path.is_file()}
    assert {path for path, md5 in outs.items() if md5 in pushed} == {"out/public/commitment", "out/public/package"}
    shell(folder, "dvc", "push")
    clone = tmp_path / "clone"
    shell(tmp_path, "git", "clone", "-q", str(folder), str(clone))
    for name in ("dvc.lock", ".dvc/config"):
        shutil.copy(folder / name, clone / name)
    shell(clone, "dvc", "pull")
    assert digest(clone / "out/public/release") == digest(folder / "out/public/release")


def test_a_consumer_gets_a_tagged_release_by_dvc(workspace: Path, bucket: str, tmp_path: Path) -> None:
    """Git tag, DVC lock and release manifest name the same content; the public remote is all that it takes."""
    folder = Path(shutil.copytree(workspace, tmp_path / "workspace", symlinks=True))
    shell(folder, "sscl", "init-remote", "--public", f"s3://{bucket}/dvc", "--private", f"s3://{bucket}-private/dvc")
    shell(folder, "git", "add", "-A")
    shell(folder, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "1.0.0")
    shell(folder, "git", "tag", "v1.0.0")
    shell(folder, "dvc", "push", "-r", "public")
    places = [f"release.{name}=s3://{bucket}/{name}" for name in ("public", "private", "copies")]
    config = load_release(folder / "params.yaml", [*places, *EASY, f"release.seal_to=[{new_identity()[1]}]"])
    manifest = create(
        Root(folder / "out"), config, "1.0.0", announce=lambda _: None, checkout=folder, study=True
    ).manifest
    assert manifest.source["tag"] == "v1.0.0"
    assert manifest.source["uncommitted"] is False
    consumer = tmp_path / "consumer"
    shell(tmp_path, "git", "clone", "-q", str(folder), str(tmp_path / "origin"))  # without DVC's cache
    consumer.mkdir()
    shell(consumer, "git", "init", "-q")
    shell(consumer, "dvc", "init", "-q")
    for verb in ("get", "import"):
        shell(consumer, "dvc", verb, str(tmp_path / "origin"), "out/public/package", "--rev", "v1.0.0", "-o", verb)
        assert [asdict(file) for file in files_of(consumer / verb)] == manifest.files
    assert digest(tmp_path / "origin/dvc.lock") == manifest.source["dvc_lock"]


def name_remotes(folder: Path, places: Path) -> None:
    for name in ("public", "private"):
        shell(folder, "dvc", "remote", "add", "--force", name, str(places / name))
