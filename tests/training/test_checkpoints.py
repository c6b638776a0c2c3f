"""Trainings that are killed, interrupted, or cut short: they go on with the same bits, or end with the best so far."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xslams.errors import FileError, OptionError, SlamsWarning, StoreError
from xslams.model import Model
from xslams.options import TrainingOptions
from xslams.spec import Spec, VariableSpec
from xslams.training import fit_arrays, fit_chosen, loop, monitor
from xslams.training.checkpoints import Checkpoint
from xslams.training.logs import COLUMNS

pytestmark = pytest.mark.filterwarnings("ignore:The training data:xslams.errors.SlamsWarning")

SPEC = Spec((VariableSpec("t", "K"),), (40.0, 45.0), tuple(np.arange(4) * 2.5), periodic=False, window=3)
SMALL: dict[str, Any] = {
    "patch": 2, "latent_channels": 2, "autoencoder_epochs": 2, "epochs": 3, "width": (8,), "blocks": 1, "location": 4,
    "batch": 16, "modes": 4, "folds": 0, "holdout": 0.2,
}  # fmt: skip


class KilledError(BaseException):
    """Stands for the end of the process."""


def run(days: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.cumsum(0.3 * rng.standard_normal((days, 1, 2, 4)), axis=0)
    return 280 + x - x.mean(0), (np.arange(days) % 365) / 365.25


def fit(path: Path | None = None, *, data: Any = None, seed: int = 0, log: Path | None = None, **options: Any) -> Model:
    runs = [run()] if data is None else data
    given = TrainingOptions.of(SMALL, **options)
    return fit_arrays(SPEC, runs, given, seed=seed, progress=False, device="cpu", checkpoint=path, log=log)


def bits(model: Model) -> dict[str, bytes]:
    return {k: v.numpy().tobytes() for k, v in model.prior().state_dict().items()}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a checkpoint after every step."""
    monkeypatch.setattr(monitor, "_SECONDS", 0.0)
    monkeypatch.setattr(monitor, "_WRITES", 0.0)


def stages_written(monkeypatch: pytest.MonkeyPatch, stop: str = "", count: int = 1) -> list[str]:
    """List the stages of checkpoints as they are written, and end the process after so many of a stage."""
    written: list[str] = []
    write = Checkpoint.write

    def counted(self: Checkpoint, stage: str, *args: Any) -> None:
        write(self, stage, *args)
        written.append(stage)
        if written.count(stop) == count:
            raise KilledError

    monkeypatch.setattr(Checkpoint, "write", counted)
    return written


@pytest.mark.usefixtures("often")
def test_a_training_that_was_killed_after_any_checkpoint_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = bits(fit())
    with monkeypatch.context() as patch:
        written = stages_written(patch)
        assert bits(fit(tmp_path / "whole.safetensors")) == expected
    assert list(dict.fromkeys(written)) == ["autoencoder", "gaussian", "score", "done"]
    # In the middle of an epoch of both networks, at the end of one, between the networks, and after the last step; each
    # goes on where the last was killed.
    path = tmp_path / "run.safetensors"
    for stage, count in (
        ("autoencoder", 2),
        ("autoencoder", 2),
        ("gaussian", 1),
        ("score", 2),
        ("score", 1),
        ("done", 1),
    ):
        with monkeypatch.context() as patch:
            stages_written(patch, stage, count)
            with pytest.raises(KilledError):
                fit(path)
    assert bits(fit(path)) == expected
    assert not list(tmp_path.glob(".*"))


def test_a_process_that_is_killed_leaves_a_checkpoint_to_go_on_from(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, signal, sys, warnings
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        warnings.simplefilter("ignore")
        from pathlib import Path
        from tests.training.test_checkpoints import fit, monitor, loop
        monitor._SECONDS = monitor._WRITES = 0.0
        after = loop._Course.after
        def kill(self, loss):
            after(self, loss)
            if self._watch.stage == "score" and self.step == 4:
                os.kill(os.getpid(), signal.SIGKILL)
        loop._Course.after = kill
        fit(Path({str(tmp_path / "run.safetensors")!r}))
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert bits(fit(tmp_path / "run.safetensors")) == bits(fit())


@pytest.mark.usefixtures("often")
def test_chosen_settings_are_not_chosen_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {**SMALL, "patch": 1, "latent_channels": None, "coupled": 0, "localization": None, "inflation": 1.0}
    given |= {"seasonal": 0, "std_order": 0, "epochs": 1}
    del given["modes"]

    def choose(path: Path | None = None) -> Model:
        return fit_chosen(SPEC, [run(100)], given, budget=60, progress=False, device="cpu", checkpoint=path)

    expected = choose()
    assert len(expected.spec.training["trials"]) > 1
    with monkeypatch.context() as patch:
        written = stages_written(patch, "settings")
        with pytest.raises(KilledError):
            choose(tmp_path / "run.safetensors")
        assert written == ["settings"]
    monkeypatch.setattr("xslams.training.automatic.choose", None)
    model = choose(tmp_path / "run.safetensors")
    assert bits(model) == bits(expected)
    assert (model.spec.training, model.spec.scores) == (expected.spec.training, expected.spec.scores)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    fit(path, epochs=0)
    other = run()
    other[0][7, 0, 1, 2] += 0.01
    for change in ({"data": [other]}, {"data": [run(61)]}, {"seed": 1}, {"modes": 3}, {"epochs": 1}):
        with pytest.raises(StoreError, match=r"is of another training: .* was .* and is .*or another path"):
            fit(path, **{"epochs": 0} | change)
    with pytest.raises(StoreError, match=r"settings.modes was 4 and is 3"):
        fit(path, epochs=0, modes=3)


def test_what_is_no_checkpoint_is_neither_read_nor_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = fit(epochs=0)
    model.save(path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is no checkpoint"):
        fit(path, epochs=0)
    assert path.read_bytes() == before
    path = tmp_path / "run.safetensors"
    fit(path, epochs=0)
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole[:200], whole[:-9] + b"x" * 9, b"", b"nonsense" * 40):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"damaged|cannot be read"):
            fit(path, epochs=0)
        assert path.read_bytes() == damaged


@pytest.mark.parametrize("checkpoint", ["run.pt", 3, b"run.safetensors", ""])
def test_a_path_that_cannot_be_one_is_refused(checkpoint: Any) -> None:
    with pytest.raises(OptionError, match=r"checkpoint=.*\.safetensors"):
        fit(checkpoint)
    with pytest.raises(FileError, match="there is no folder"):
        fit(Path("nowhere/run.safetensors"))


# ------------------------------------------------------------------------------------------------------------- Ctrl-C


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("stage", ["autoencoder", "score"])
def test_an_interrupt_returns_the_best_model_so_far_and_the_checkpoint_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    after = loop._Course.after

    def interrupt(self: loop._Course, loss: float) -> None:
        if self._watch is not None and (self._watch.stage, self.step) == (stage, 4):
            signal.raise_signal(signal.SIGINT)
        after(self, loss)

    path, handler = tmp_path / "run.safetensors", signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(loop._Course, "after", interrupt)
        with pytest.warns(SlamsWarning, match=r"interrupted \(.*, step 5 of .*best so far.*run.safetensors"):
            model = fit(path)
    assert signal.getsignal(signal.SIGINT) is handler
    assert all(bool(torch.isfinite(w).all()) for w in model.prior().state_dict().values())
    expected = bits(fit())
    assert bits(model) != expected
    assert bits(fit(path)) == expected


def test_an_interrupt_of_the_search_gives_a_gaussian_and_a_second_one_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from xslams.training import automatic

    choose = automatic.choose

    def interrupted(*args: Any, times: int = 1, **more: Any) -> Any:
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        return choose(*args, **more)

    given = {"modes": 4, "folds": 0}
    monkeypatch.setattr(automatic, "choose", interrupted)
    with pytest.warns(SlamsWarning, match="interrupted"):
        model = fit_chosen(SPEC, [run(100)], given, budget=60, progress=False, device="cpu")
    assert model.prior().score is None
    monkeypatch.setattr(automatic, "choose", lambda *args, **more: interrupted(*args, times=2, **more))
    with pytest.raises(KeyboardInterrupt):
        fit_chosen(SPEC, [run(100)], given, budget=60, progress=False, device="cpu")


# ----------------------------------------------------------------------------------------------- early stopping, logs


def test_patience_ends_the_training_with_the_best_weights(tmp_path: Path) -> None:
    # So large a learning rate spoils what the first epochs have learned.
    options = {"patch": 1, "latent_channels": None, "epochs": 40, "learning_rate": 0.3, "patience": 2, "ema": 0.0}
    model = fit(log=tmp_path / "run.csv", **options)
    rows = rows_of(tmp_path / "run.csv")
    scores = [float(r["held_out"]) for r in rows if r["stage"] == "score" and r["held_out"]]
    assert 3 <= len(scores) < 41
    assert min(scores) < min(scores[-2:])
    assert "without a better score" in model.spec.training["ended"][0]
    with pytest.raises(OptionError, match=r"patience=2 looks at frames that are held out"):
        fit(**options | {"holdout": 0.01})
    with pytest.raises(OptionError, match=r"holdout=0.*patience"):
        fit(**options | {"holdout": 0.0})


def test_a_log_has_a_line_for_every_epoch_and_does_not_change_the_result(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    assert bits(fit(log=path)) == bits(fit())
    rows = rows_of(path)
    assert tuple(rows[0]) == COLUMNS
    assert list(dict.fromkeys(r["stage"] for r in rows)) == ["autoencoder", "score"]
    scored = [r for r in rows if r["held_out"]]
    assert [int(r["step"]) for r in scored] == [0, 3, 6, 9]
    # The Gaussian of the beginning knows more than the climatology.
    assert 0 < float(scored[0]["held_out"]) < 1
    seconds = [float(r["seconds"]) for r in rows]
    assert seconds == sorted(seconds)
    fit(log=path, epochs=0)
    assert len(rows_of(path)) < len(rows)


def test_a_log_does_not_overwrite_another_file(tmp_path: Path) -> None:
    path = tmp_path / "precious.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(FileError, match="another file"):
        fit(log=path)
    assert path.read_text() == "a,b\n1,2\n"


def test_tensorboard_is_asked_for_and_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"TensorBoard, which is not installed.*log=\"run.csv\""):
        fit(log=tmp_path / "events")
    seen: list[tuple[str, int]] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path / "events")

        def add_scalar(self, name: str, value: float, step: int) -> None:
            seen.append((name, step))

        def flush(self) -> None: ...

        def close(self) -> None:
            seen.append(("closed", 0))

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    fit(log=tmp_path / "events")
    assert {"score/held_out", "score/train_loss", "score/learning_rate", "autoencoder/train_loss"} < {
        n for n, _ in seen
    }
    assert seen[-1] == ("closed", 0)


def test_a_precision_that_the_device_lacks_is_refused() -> None:
    from xslams.training.score import require_precision

    require_precision(TrainingOptions(precision="bf16"), torch.device("cpu"))
    with pytest.raises(OptionError, match="does not compute in bfloat16"):
        require_precision(TrainingOptions(precision="bf16"), torch.device("mps"))
