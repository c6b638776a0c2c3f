"""What every test shares: threads, hypothesis profile, the folder of real data, a tiny model."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# One thread for each test process, as several run side by side. Has to be set before torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
# A shell that runs the tests in the background has interrupts ignored, which some tests raise.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import warnings

import hypothesis
import numpy as np
import pytest

if TYPE_CHECKING:
    from xslams.model import Model

# The machines that run the tests are shared and slow now and then: a deadline would fail on load and not on a fault.
hypothesis.settings.register_profile(
    "xslams", deadline=None, max_examples=25, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("thorough", parent=hypothesis.settings.get_profile("xslams"), max_examples=500)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "xslams"))

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("XSLAMS_SHARED", ROOT.parent / "shared")) / "data"


#: A network, a coarse latent grid and a nonlinear encoder: all that a model may have.
TINY = {
    "epochs": 1, "patch": 4, "hidden": 64, "autoencoder_epochs": 20, "folds": 0, "mean_order": 2, "std_order": 1,
}  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of its own, so that tests neither find nor leave files in the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XSLAMS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data, which is not part of the repository; the test is skipped where it is absent.

    With ``XSLAMS_REQUIRE_SHARED=1`` absence is a failure, so that tests cannot fall silent unnoticed.
    """
    if not SHARED.is_dir():
        reason = f"needs the real data in {SHARED}; set XSLAMS_SHARED to the folder that holds data/"
        if os.environ.get("XSLAMS_REQUIRE_SHARED", "0") not in ("", "0"):
            pytest.fail(reason)
        pytest.skip(reason)
    return SHARED


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A saved model of ``t`` (state, 2 levels) and ``pr`` (aux) on a periodic 8 x 16 grid, barely trained."""
    from xslams.options import TrainingOptions
    from xslams.spec import Spec, VariableSpec
    from xslams.training import fit_arrays

    lat = np.linspace(-70.0, 70.0, 8)
    lon = np.arange(16) * 22.5
    spec = Spec(
        variables=(
            VariableSpec("t", "K", standard_name="air_temperature", level_dim="level", levels=(850.0, 500.0)),
            VariableSpec("pr", "mm/day", role="aux", standard_name="precipitation_flux", transform="sqrt"),
        ),
        lat=tuple(lat.tolist()),
        lon=tuple(lon.tolist()),
        periodic=True,
        window=3,
        name="tiny",
        summary="Travelling waves on a coarse sphere, for tests",
    )
    rng = np.random.default_rng(0)
    days = np.arange(120)
    wave = np.sin(np.deg2rad(lon) * 2 - 0.3 * days[:, None, None] + rng.normal()) * np.cos(np.deg2rad(lat))[:, None]
    t = np.stack([285 + 8 * wave, 250 + 5 * np.roll(wave, 1, axis=-1)], axis=1)
    pr = np.maximum(4 * wave[:, None] - 1, 0)
    fields = np.concatenate([t, pr], axis=1)
    fields[:, :2] += rng.normal(scale=0.5, size=t.shape)
    runs = [(fields, (days % 365) / 365.25)]
    with warnings.catch_warnings():
        # A few months are enough for these tests.
        warnings.filterwarnings("ignore", message="The training data cover")
        model = fit_arrays(spec, runs, TrainingOptions.of(TINY), seed=0, progress=False, device="cpu")
    model.save(tmp_path_factory.mktemp("model") / "tiny.safetensors")
    return model


@pytest.fixture
def unsaved_model(tiny_model: Model) -> Model:
    """The same model without a file: one that is saved belongs to its new file, which the shared one must not."""
    from xslams.model import Model

    return Model(tiny_model.spec, prior=tiny_model.prior())


@pytest.fixture
def fresh_python() -> str:
    """The interpreter that runs the tests, for code that needs a process of its own."""
    return sys.executable
