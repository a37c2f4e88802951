from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sscl.attacks import REMOVALS
from sscl.attacks.robust_training import RobustTraining
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute, native_bf16
from sscl.config import ComputeConfig, TrainConfig
from sscl.errors import ConfigError, SSCLError
from sscl.models.base import made
from sscl.train import benign_accuracy, minimise, predict, schedule, train_classifier
from sscl.types import ImageSet

CONFIG = TrainConfig("baseline_cnn", 3, 32, "adam", 2e-3, 0.0, "onecycle", "shift")


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_it_learns(optimizer: str, train_set: ImageSet, test_set: ImageSet, compute: Compute) -> None:
    rate = {"adam": 2e-3, "sgd": 0.05}[optimizer]
    config = replace(CONFIG, optimizer=optimizer, learning_rate=rate, epochs=6)
    trained = train_classifier(train_set, config, compute, seed=0, use="user")
    assert trained.losses[-1] < 0.5 * trained.losses[0]
    assert benign_accuracy(trained.model, test_set, compute) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("model", ["baseline_cnn", "resnet8"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_resumed_training_ends_with_the_same_weights(
    model: str, optimizer: str, train_set: ImageSet, compute: Compute, tmp_path: Path
) -> None:
    config = replace(CONFIG, model=model, optimizer=optimizer, learning_rate=0.01)
    whole = train_classifier(train_set, config, compute, seed=0, use="user")

    class Interrupted(Checkpoint):
        def save(self, *args: object) -> None:
            super().save(*args)  # type: ignore[arg-type]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_classifier(train_set, config, compute, seed=0, use="user", checkpoint=Interrupted(tmp_path))
    resumed = train_classifier(train_set, config, compute, seed=0, use="user", checkpoint=Checkpoint(tmp_path))
    assert resumed.losses == whole.losses
    first, second = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_a_damaged_checkpoint_starts_afresh(train_set: ImageSet, compute: Compute, tmp_path: Path) -> None:
    (tmp_path / "last.safetensors").write_bytes(b"half a fi")
    resumed = train_classifier(
        train_set, replace(CONFIG, epochs=1), compute, seed=0, use="user", checkpoint=Checkpoint(tmp_path)
    )
    assert len(resumed.losses) == 1


def test_channels_last_trains_the_same_network(train_set: ImageSet, compute: Compute) -> None:
    config = replace(CONFIG, model="resnet8", epochs=1)
    plain = train_classifier(train_set, config, compute, seed=0, use="user")
    other = train_classifier(train_set, config, replace(compute, channels_last=True), seed=0, use="user")
    assert other.losses == pytest.approx(plain.losses, rel=1e-2)


def test_bf16_runs(train_set: ImageSet, compute: Compute) -> None:
    low = replace(compute, bf16=True)
    trained = train_classifier(train_set, replace(CONFIG, epochs=1), low, seed=0, use="user")
    assert predict(trained.model, train_set.images[:8], low).dtype == torch.float64


def test_divergence_is_an_error(train_set: ImageSet, compute: Compute) -> None:
    config = replace(CONFIG, optimizer="sgd", learning_rate=1e9, schedule="constant")
    with pytest.raises(SSCLError, match="training of user diverged in epoch 1: lower its learning_rate"):
        train_classifier(train_set, config, compute, seed=0, use="user")


def line(slope: float) -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor]:
    """A line through the origin to fit, and points on another one."""
    fitted = made(lambda: torch.nn.Linear(1, 1, bias=False), torch.Generator().manual_seed(0))
    x = torch.linspace(-1, 1, 40)[:, None]
    torch.nn.init.constant_(fitted.weight, slope)
    return fitted, x, 3 * x


@pytest.mark.parametrize("shape", ["constant", "onecycle"])
def test_minimise_finds_the_least_squares(shape: str) -> None:
    fitted, x, y = line(0.0)
    rng = torch.Generator().manual_seed(0)

    def loss(batch: torch.Tensor) -> torch.Tensor:
        return (fitted(x[batch]) - y[batch]).square().mean()

    minimise(fitted, len(x), loss, use="a line", epochs=60, batch_size=16, learning_rate=0.1, rng=rng, shape=shape)
    assert fitted.weight.item() == pytest.approx(3, abs=0.05)


def test_minimise_notices_divergence() -> None:
    fitted, x, y = line(1.0)

    def loss(batch: torch.Tensor) -> torch.Tensor:
        return (1e30 * (fitted(x[batch]) - y[batch])).square().mean()

    rng = torch.Generator().manual_seed(0)
    with pytest.raises(SSCLError, match="training of a line diverged in epoch 1"):
        minimise(fitted, len(x), loss, use="a line", epochs=2, batch_size=16, learning_rate=0.1, rng=rng)


def test_probabilities_are_probabilities(train_set: ImageSet, compute: Compute) -> None:
    model = train_classifier(train_set, replace(CONFIG, epochs=0), compute, seed=0, use="user").model
    p = predict(model, train_set.images, compute, batch_size=7)
    assert p.shape == (len(train_set), 3)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(len(p), dtype=torch.float64))


def test_one_cycle_rises_and_falls() -> None:
    values = [schedule("onecycle", step / 1000) for step in range(1000)]
    peak = values.index(max(values))
    assert 190 <= peak <= 210
    assert max(values) <= 1.0
    assert 0 < values[-1] < 0.01
    assert schedule("constant", 0.7) == 1.0


@pytest.mark.parametrize("name", ["mixup", "adversarial_training", "train_jpeg", "dp_sgd"])
def test_attackers_smooth_labels_as_the_training_says(name: str, train_set: ImageSet, compute: Compute) -> None:
    attack, losses = REMOVALS[name], []
    assert isinstance(attack, RobustTraining)
    for smoothing in (0.0, 0.5):
        config = replace(CONFIG, epochs=1, learning_rate=1e-9, label_smoothing=smoothing)
        practice = attack.practice(attack.usual)
        losses.append(train_classifier(train_set, config, compute, seed=0, use="x", practice=practice).losses[0])
    assert losses[0] != losses[1]


@pytest.mark.parametrize(("capability", "native"), [((7, 0), False), ((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_that_emulates_bf16_does_not_train_in_it(
    capability: tuple[int, int], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert native_bf16(torch.device("cuda")) == native


@pytest.mark.parametrize(
    ("can", "bf16"),
    [({"avx512_f": True}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"neon": True}, False)],
)
def test_switches_on_a_cpu(can: dict[str, bool], bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    threads = torch.get_num_threads()
    resolved = Compute.set_up(ComputeConfig("cpu", threads, "auto", channels_last=True, compile=False))
    assert (resolved.bf16, resolved.channels_last, resolved.compile) == (bf16, True, False)
    monkeypatch.setattr("sscl.compute.USUAL_THREADS", threads)
    Compute.set_up(ComputeConfig("cpu", threads + 1, "auto", channels_last=True, compile=False))
    assert torch.get_num_threads() == threads + 1
    Compute.set_up(ComputeConfig("cpu", None, "auto", channels_last=True, compile=False))
    assert torch.get_num_threads() == threads, "no count means the process's own, whatever was asked for before"
    with pytest.raises(ConfigError, match=r"compute\.device: 'cuda:99' is not usable here; use auto or cpu"):
        Compute.set_up(ComputeConfig("cuda:99", None, "auto", "auto", compile=False))
