"""Diagnostics on exact Gaussian problems, where the right answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xslams
from xslams.diagnostics import Diagnosis, diagnose
from xslams.diagnostics.calibration import flatness
from xslams.diagnostics.sources import consistency, signal
from xslams.errors import ModelError, OptionError, SlamsError
from xslams.likelihood.consistency import PRIOR, Departures, error_ratio, prior_shift, sums_by_frame
from xslams.scores.sampling import block_length, bootstrap

FRAMES, CELLS, MEMBERS = 40, 24, 8


def ensemble(seed: int, *, width: float = 1.0, shift: float = 0.0, memory: float = 0.0):
    """Members around a truth with correlated cells and times; width 1 is calibrated."""
    rng = np.random.default_rng(seed)

    def field(*shape: int) -> np.ndarray:
        noise = rng.normal(size=(*shape, FRAMES, CELLS))
        for t in range(1, FRAMES):
            noise[..., t, :] = memory * noise[..., t - 1, :] + (1 - memory**2) ** 0.5 * noise[..., t, :]
        # Cells share half of their variance, as cells of one weather system do.
        return 0.7 * noise + 0.7 * noise[..., :1]

    center = field()
    coords = {"time": pd.date_range("2001-01-01", periods=FRAMES), "lon": ("lon", np.arange(CELLS) * 6.0)}
    coords["lon"][1].setflags(write=True)
    lon = xr.DataArray(np.arange(CELLS) * 6.0, dims="lon", attrs={"units": "degrees_east"})
    truth = xr.DataArray(center + field() + shift, {**coords, "lon": lon}, ("time", "lon"), name="t")
    members = xr.DataArray(center + width * field(MEMBERS), {**coords, "lon": lon}, ("member", "time", "lon"), name="t")
    return members.to_dataset(), truth.to_dataset()


def verdicts(found: Diagnosis) -> dict[str, str]:
    return {f.test: f.verdict for f in found}


# ------------------------------------------------------------------------------------------------------- calibration


def test_a_calibrated_ensemble_is_rarely_accused():
    p = []
    for seed in range(12):
        found = diagnose(*_swap(ensemble(seed, memory=0.5)))
        p.append(found.find("rank test p")[0].value)
    # Cells counted as independent would reject nearly always; here one in twenty is.
    assert np.sum(np.array(p) < 0.05) <= 2
    assert np.median(p) > 0.15


def _swap(pair):
    analysis, truth = pair
    return analysis, None, truth


@pytest.mark.parametrize(
    ("settings", "word", "ratio"), [({"width": 0.5}, "too sure", 0.5), ({"width": 2.0}, "too wide", 2.0)]
)
def test_a_wrong_spread_is_found_and_said(settings, word, ratio):
    found = diagnose(*_swap(ensemble(0, **settings)))
    (ranks,), (spread,) = found.find("rank test p"), found.find("spread / error")
    assert ranks.verdict == spread.verdict == "bad"
    assert word in ranks.meaning
    assert word in spread.meaning
    assert spread.value == pytest.approx(ratio, abs=4 * spread.uncertainty)
    assert ranks.advice
    assert spread.advice


def test_a_bias_is_called_a_bias():
    (ranks,) = diagnose(*_swap(ensemble(0, shift=1.0))).find("rank test p")
    assert ranks.verdict == "bad"
    assert "above the members" in ranks.meaning


def test_few_times_are_no_evidence():
    analysis, truth = ensemble(0, width=0.2)
    found = diagnose(analysis.isel(time=slice(3)), truth=truth)
    assert set(verdicts(found).values()) == {"unsure"}
    found = diagnose(analysis.isel(time=0, drop=True), truth=truth.isel(time=0, drop=True))
    assert set(verdicts(found).values()) == {"unsure"}


def test_p_is_uniform_for_independent_histograms():
    rng = np.random.default_rng(1)
    p = [flatness(rng.multinomial(50, np.ones(7) / 7, size=60) / 50)[0] for _ in range(200)]
    assert 0.005 < np.mean(np.array(p) < 0.05) < 0.12
    assert 0.35 < np.mean(p) < 0.65


# ----------------------------------------------------------------------------------------------------------- sources


def departures(stated: float, true: float, *, background: bool, seed: int = 0, prior: float = 1.0, size: int = 100):
    """The exact analysis of many scalars by the stated error, of observations with the true one; both are std."""
    rng = np.random.default_rng(seed)
    n = FRAMES * size
    x = prior * rng.normal(size=n)
    y = x + true * rng.normal(size=n)
    gain = prior**2 / (prior**2 + stated**2)
    sd = (gain * stated**2) ** 0.5
    members = gain * y + sd * rng.normal(size=(20, n))
    frame = np.repeat(np.arange(FRAMES), size)
    return Departures(y, np.full(n, stated**2), members, frame, np.zeros(n) if background else None)


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("stated", [0.5, 1.0, 2.0])
def test_right_errors_are_confirmed(background, stated):
    found = {
        f.test: f
        for f in consistency("a", sums_by_frame(departures(stated, stated, background=background), FRAMES), "K")
    }
    assert found["chi-square"].verdict == found["error"].verdict == "good"
    assert found["error"].value == pytest.approx(stated, abs=3 * found["error"].uncertainty)
    assert found["error"].uncertainty < 0.1 * stated
    assert not found["error"].advice


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(("stated", "word"), [(0.5, "too small"), (2.0, "too large")])
def test_errors_that_are_wrong_by_two_are_found(background, stated, word):
    found = {
        f.test: f for f in consistency("a", sums_by_frame(departures(stated, 1.0, background=background), FRAMES), "K")
    }
    assert found["chi-square"].verdict == found["error"].verdict == "bad"
    assert word in found["chi-square"].meaning
    assert found["error"].value == pytest.approx(1.0, rel=0.1)
    assert "error=" in found["error"].advice


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("prior", [0.3, 1.0, 3.0])
def test_the_estimate_is_the_true_error_however_good_the_prior(background, prior):
    values = []
    for seed in range(6):
        part = departures(2.0, 1.0, background=background, prior=prior, seed=seed)
        values += [f.value**2 for f in consistency("a", sums_by_frame(part, FRAMES)) if f.test == "error"]
    assert np.mean(values) == pytest.approx(1.0, abs=0.12)


def test_many_values_of_one_number_tell_their_error():
    # x ~ N(0, 1) seen by 200 instruments of error 1, said to be 2, at each of the frames.
    rng = np.random.default_rng(0)
    x = rng.normal(size=FRAMES)
    y = x[:, None] + rng.normal(size=(FRAMES, 200))
    variance = 1 / (1 + 200 / 4.0)
    mean = variance * y.sum(1) / 4.0
    members = mean + variance**0.5 * rng.normal(size=(20, FRAMES))
    predicted = np.repeat(members, 200, axis=1)
    part = Departures(y.ravel(), np.full(y.size, 4.0), predicted, np.repeat(np.arange(FRAMES), 200))
    (found,) = (f for f in consistency("a", sums_by_frame(part, FRAMES)) if f.test == "error")
    assert found.value == pytest.approx(1.0, rel=0.05)
    assert found.verdict == "bad"


def smooth(stated: float, *, length: float, background: bool, true_prior: float = 1.0, members: int = 16) -> Departures:
    """The exact analysis of 30 stations on a line, seen every day with an error of 1, whose states are alike nearby."""
    rng, places, days = np.random.default_rng(3), np.linspace(0, 1, 30), 300
    prior = np.exp(-0.5 * (np.subtract.outer(places, places) / length) ** 2)
    gain = prior @ np.linalg.inv(prior + stated**2 * np.eye(30))
    root, noise = (np.linalg.cholesky(c + 1e-9 * np.eye(30)) for c in (prior, prior - gain @ prior))
    y = true_prior**0.5 * rng.normal(size=(days, 30)) @ root.T + rng.normal(size=(days, 30))
    drawn = (y @ gain.T + rng.normal(size=(members, days, 30)) @ noise.T).reshape(members, -1)
    first = np.zeros(y.size) if background else None
    return Departures(y.ravel(), np.full(y.size, stated**2), drawn, np.repeat(np.arange(days), 30), first)


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("length", [0.01, 0.1, 0.5, 5.0])
@pytest.mark.parametrize("stated", [0.6, 1.0, 1.5])
def test_the_error_is_found_however_alike_neighbours_are(stated, length, background):
    total = sums_by_frame(smooth(stated, length=length, background=background), 300).sum(0)
    # The bound is twice its sampling error where every value sees something of its own.
    assert stated * error_ratio(total) ** 0.5 == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("true_prior", [0.5, 2.0])
@pytest.mark.parametrize("length", [0.03, 0.2])
def test_a_wrong_prior_shifts_the_estimate_by_what_is_said(length, true_prior, background):
    total = sums_by_frame(smooth(1.0, length=length, background=background, true_prior=true_prior), 300).sum(0)
    # An overconfident prior lets errors look larger than they are, and a wide one smaller.
    assert error_ratio(total) - 1.0 == pytest.approx((true_prior - 1.0) * prior_shift(total), abs=0.1)


def test_what_the_prior_may_explain_is_no_advice():
    part = smooth(1.0, length=0.01, background=False, true_prior=1.0 + 0.85 * PRIOR)
    (found,) = (f for f in consistency("a", sums_by_frame(part, 300), "K") if f.test == "error")
    assert (found.verdict, "Multiply" in found.advice) == ("unsure", False)
    assert "if the prior's variance is 20% wrong" in found.meaning
    part = smooth(2.0, length=0.2, background=False, true_prior=1.0 + PRIOR)
    (found,) = (f for f in consistency("a", sums_by_frame(part, 300), "K") if f.test == "error")
    assert found.verdict == "bad"
    assert "by chance; ± " in found.meaning


@pytest.mark.parametrize("members", [2, 3, 4])
def test_few_members_do_not_overshoot(members):
    part = smooth(2.0, length=0.2, background=False, members=members)
    told = 2.0 * error_ratio(sums_by_frame(part, 300).sum(0)) ** 0.5
    assert 0.9 < told < 1.6


def test_degrees_of_freedom_for_signal_are_those_of_theory():
    parts = {"good": departures(0.5, 0.5, background=False), "poor": departures(2.0, 2.0, background=False)}
    found = {(f.subject, f.test): f for f in signal({n: sums_by_frame(p, FRAMES) for n, p in parts.items()})}
    n = FRAMES * 100
    expected = {"good": n * 1 / 1.25, "poor": n * 1 / 5}
    for name, dfs in expected.items():
        assert found[name, "degrees of freedom for signal"].value == pytest.approx(dfs, rel=0.05)
        assert found[name, "impact"].value == pytest.approx(dfs / sum(expected.values()), rel=0.05)


def test_antithetic_members_have_a_mean_without_sampling_error():
    rng = np.random.default_rng(0)
    n = 20000
    x = rng.normal(size=n)
    y = x + rng.normal(size=n)
    noise = 0.5**0.5 * rng.normal(size=(1, n))
    part = Departures(y, np.ones(n), y / 2 + np.concatenate([noise, -noise]), np.zeros(n, int), None, float("inf"))
    total = sums_by_frame(part, 1)[0]
    assert total[1] / total[2] == pytest.approx(1.0, abs=0.05)
    assert total[3] / n == pytest.approx(1.0, abs=0.05)


# ---------------------------------------------------------------------------------------------------------- sampling


def test_the_bootstrap_knows_that_times_are_alike():
    rng = np.random.default_rng(0)
    true, said = [], []
    for _ in range(60):
        x = np.zeros(200)
        noise = rng.normal(size=200)
        for t in range(1, 200):
            x[t] = 0.7 * x[t - 1] + noise[t]
        true.append(x.mean())
        said.append(bootstrap(x[:, None], lambda m: m).std())
    assert np.mean(said) == pytest.approx(np.std(true), rel=0.35)
    assert block_length(rng.normal(size=(100, 1))) <= 8


# --------------------------------------------------------------------------------------------------------- the whole


def test_diagnosis_of_an_analysis_in_words_and_numbers(tiny_model):
    spec, rng = tiny_model.spec, np.random.default_rng(1)
    coords = {"time": pd.date_range("2004-01-01", periods=2), "lat": list(spec.lat), "lon": list(spec.lon)}
    truth = xr.Dataset(
        {
            "t": (("time", "level", "lat", "lon"), 280 + rng.normal(size=(2, 2, 8, 16)), {"units": "K"}),
            "pr": (("time", "lat", "lon"), rng.gamma(1.0, 2.0, (2, 8, 16)), {"units": "mm day-1"}),
        },
        {**coords, "level": [850.0, 500.0]},
    )
    obs = [
        xslams.simulate_observations(truth["pr"], coarsen=2, error=1.0, seed=2).replace(name="gauges"),
        xslams.simulate_observations(truth["t"].isel(level=[0]), stations=20, error=1.0).replace(name="stations"),
    ]
    analysis = truth.slams.assimilate(obs, tiny_model, members=4, steps=3)
    found = analysis.slams.diagnose(obs, truth[["t"]].isel(level=[0]), model=tiny_model, background=truth[["t"]])
    assert [f.subject for f in found.find("chi-square")] == ["stations", "gauges"]
    # Rain is no part of the analysis: nothing is said of its gauges but that.
    assert "does not hold" in found.find("chi-square", "gauges")[0].meaning
    assert not found.find("error", "gauges")
    assert "too few times" in found.find("error", "stations")[0].meaning
    assert [f.subject for f in found.find("rank test p")] == ["t at level 850"]
    assert "stations: degrees of freedom for signal" in str(found)
    assert "<table>" in found._repr_html_()
    ds = found.to_dataset()
    assert float(ds["value"].sel(subject="stations", test="impact")) == found.find("impact", "stations")[0].value
    assert found.to_dict()["stations"]["error"]["expected"] == pytest.approx(1.0, rel=0.5)
    worth = analysis.slams.impact(obs, truth, model=tiny_model, leave_one_out=True)
    assert float(worth["share"].sum()) == pytest.approx(1.0)
    np.testing.assert_allclose(worth["share"], [f.value for f in found.find("impact")])
    assert list(worth["left_out"].values) == ["gauges", "stations"]
    assert {"t_spread_ratio", "t_rmse_ratio"} <= set(worth.data_vars)


def test_bad_input_is_named():
    analysis, truth = ensemble(0)
    with pytest.raises(OptionError, match="truth="):
        analysis.slams.diagnose()
    with pytest.raises(OptionError, match="truth="):
        analysis.slams.diagnose(truth=3.0)
    with pytest.raises(SlamsError, match="two members"):
        analysis.isel(member=0).slams.diagnose(truth=truth)
    with pytest.raises(SlamsError, match="which model"):
        analysis.slams.diagnose(xslams.Observation(truth["t"], error=1.0))
    with pytest.raises(ModelError, match=r"'mine' of your own.*model="):
        analysis.assign_attrs(xslams_model="mine").slams.diagnose(xslams.Observation(truth["t"], error=1.0))
