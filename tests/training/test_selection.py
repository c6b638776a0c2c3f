"""Settings that are chosen by what held-out frames say."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xslams.errors import OptionError, VariableError
from xslams.model import Model
from xslams.options import TrainingOptions
from xslams.priors.latent import LatentPrior
from xslams.spec import Spec, VariableSpec
from xslams.training import automatic, evidence, fit_arrays, fit_chosen, selection, trial
from xslams.training.auxiliary import Benefit
from xslams.training.blocks import deal, starts
from xslams.training.curves import with_normal_scores
from xslams.training.evidence import Examination
from xslams.training.gaussians import Candidates, Latents
from xslams.training.selection import Choice, Trial, choose
from xslams.training.stages import fit_gaussian_stages, fit_latents, with_architecture
from xslams.training.trial import time_for_network, try_network

# Some of the data cover a part of the year.
pytestmark = pytest.mark.filterwarnings("ignore:The training data:xslams.errors.SlamsWarning")

SPEC = Spec(
    variables=(VariableSpec("t", "K"), VariableSpec("pr", "mm day-1", "aux")),
    lat=(40.0, 45.0),
    lon=tuple(np.arange(8) * 2.5),
    periodic=False,
    window=3,
)


def run(days: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A pattern that moves by a cell a day, and its imprint on an auxiliary variable."""
    rng = np.random.default_rng(seed)
    x = np.zeros((days, 1, 2, 8))
    for i in range(1, days):
        # What enters in the west is new, so that yesterday tells of today but a cell further on.
        x[i, ..., 1:] = x[i - 1, ..., :-1] + 0.1 * rng.standard_normal((1, 2, 7))
        x[i, ..., :1] = rng.standard_normal((1, 2, 1))
    season = (np.arange(days) % 365) / 365.25
    aux = x + 0.3 * rng.standard_normal(x.shape)
    return np.concatenate([280 + x + 3 * np.cos(2 * np.pi * season)[:, None, None, None], aux], axis=1), season


# Not at issue here, and each takes time to try.
FEW = {"localization": None, "spread": (), "smoothing": 1, "inflation": 1.0, "std_order": 0, "modes": 20}


def chosen(runs: list[tuple[np.ndarray, np.ndarray]], **given: object) -> Model:
    budget = float(given.pop("budget", 120.0))  # type: ignore[arg-type]
    return fit_chosen(SPEC, runs, FEW | given, budget=budget, seed=0, progress=False, device="cpu")


def test_coupling_is_found_where_patterns_move_and_the_table_says_so() -> None:
    model = chosen([run(365)], epochs=0)
    settings, trials = model.spec.training["settings"], model.spec.training["trials"]
    assert settings["coupled"] > 0
    first, kept = trials[0], [t for t in trials[1:] if t["kept"]]
    assert all(t["gain"] > t["error"] for t in kept)
    assert all(t["gain"] <= t["error"] for t in trials[1:] if not t["kept"])
    # Gains of what was kept add up to the difference between the first and the last.
    assert first["score"] - sum(t["gain"] for t in kept) == pytest.approx(kept[-1]["score"], abs=1e-3)
    held_out = model.spec.scores["held_out"]
    assert set(held_out) == {"t"}
    assert held_out["t"]["relative_crps"][0] < 0.95
    assert 0.8 < held_out["t"]["spread_skill"][0] < 1.25


def test_what_is_given_stays_and_what_was_chosen_gives_the_same_weights_again() -> None:
    model = chosen([run(120)], epochs=0, mean_order=0, coupled=0, smoothing=9)
    settings = model.spec.training["settings"]
    assert (settings["mean_order"], settings["coupled"]) == (0, 0)
    assert not any({"mean_order", "coupled"} & set(t["change"]) for t in model.spec.training["trials"][1:])
    again = fit_chosen(SPEC, [run(120)], settings, budget=0, seed=0, progress=False, device="cpu")
    assert again.spec.training["trials"] == []
    for name, weights in model.prior().storage_state().items():
        torch.testing.assert_close(again.prior().storage_state()[name], weights, rtol=0, atol=0)


def skewed(days: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames whose auxiliary variable is dry on a third of the days, and now and then heavy."""
    fields, season = run(days)
    fields[:, 1] = np.maximum(np.exp(2 * fields[:, 1]) - 0.5, 0)
    return fields, season


def test_a_curve_of_a_skewed_variable_is_found() -> None:
    few = {"epochs": 0, "coupled": 0, "mean_order": 1, "seasonal": 0}
    model = chosen([skewed(365)], **few)
    assert model.spec.training["settings"]["normal_scores"] == ["pr"]
    rain = model.spec.variables[1]
    assert (rain.transform, rain.knots[0][0]) == ("scores", 0.0)
    assert Spec.from_json(model.spec.to_json()) == model.spec
    # A variable that is normal needs none.
    assert chosen([run(120)], **few).spec.training["settings"]["normal_scores"] == []


@pytest.mark.parametrize(
    "given",
    [{"normal_scores": ("pr",)}, {"normal_scores": ()}, {"modes": 5}, {"mean_order": 0}, {"localization": 3000.0}],
)
def test_what_is_given_stays_as_it_is(given: dict[str, object]) -> None:
    few = {"epochs": 0, "coupled": 0, "mean_order": 1, "seasonal": 0} | given
    settings = chosen([skewed(200)], budget=5.0, **few).spec.training["settings"]
    for name, value in given.items():
        assert settings[name] == (list(value) if isinstance(value, tuple) else value)


def skewed_state(days: int) -> tuple[np.ndarray, np.ndarray]:
    """A state like rain, none on half of the days, and an auxiliary variable that is normal."""
    fields, season = run(days)
    x = fields[:, 0] - 280 - 3 * np.cos(2 * np.pi * season)[:, None, None]
    x /= x.std()
    return np.stack([np.maximum(np.exp(x) - 1, 0.0), x], axis=1), season


def test_a_curve_of_a_skewed_state_is_found_and_none_of_a_normal_one() -> None:
    few = {"epochs": 0, "coupled": 0, "mean_order": 1, "seasonal": 0, "day_order": 0}
    rain, normal = chosen([skewed_state(365)], **few), chosen([run(365)], **few)
    for model, kept in ((rain, True), (normal, False)):
        trial = next(t for t in model.spec.training["trials"] if t["change"] == {"normal_scores": ["t"]})
        assert trial["kept"] == kept
        assert bool(model.spec.variables[0].knots) == kept
    assert "t" in rain.spec.training["settings"]["normal_scores"]


@given(mean=st.floats(-5, 5), spread=st.floats(0.1, 5), truth=st.floats(-10, 10))
def test_quantiles_tell_the_score_of_a_normal_distribution(mean: float, spread: float, truth: float) -> None:
    chances = (torch.arange(evidence._QUANTILES) + 0.5) / evidence._QUANTILES
    values = mean + spread * torch.special.ndtri(chances)
    found = evidence._crps_of_quantiles(torch.tensor(truth), values)
    exact = evidence._crps(torch.tensor(truth - mean), torch.tensor(spread))
    assert float(found) == pytest.approx(float(exact), abs=0.02 * spread)


def test_only_variables_that_have_one_distribution_have_a_curve() -> None:
    fields, season = run(60)
    with pytest.raises(VariableError, match="'q', which is none of"):
        chosen([(fields, season)], budget=0, normal_scores=("q",))
    deep = (VariableSpec("t", "K"), VariableSpec("u", "m s-1", "aux", level_dim="level", levels=(500.0, 850.0)))
    with pytest.raises(VariableError, match="'u', which has levels"):
        spec = dataclasses.replace(SPEC, variables=deep)
        fit_chosen(spec, [(fields[:, [0, 1, 1]], season)], {"normal_scores": ["u"]}, budget=0)
    fields[:, 1] = 3.0
    assert with_normal_scores(SPEC, [(fields, season)], TrainingOptions(normal_scores=("pr",))) == SPEC


def test_too_few_frames_try_nothing() -> None:
    model = chosen([run(40)])
    assert model.spec.training["trials"] == []
    assert model.spec.scores == {}
    assert TrainingOptions.of({**model.spec.training["settings"]}) == TrainingOptions.of(FEW, mean_order=0, day_order=0)


def test_a_network_is_not_tried_on_a_year() -> None:
    model = chosen([run(100)], coupled=0, mean_order=1)
    assert "fewer than 1000 frames" in model.spec.training["network"]
    assert model.prior().score is None


def test_a_network_is_tried_where_data_and_time_allow() -> None:
    options = TrainingOptions(width=(8,), blocks=1, location=4, batch=64)
    # The first stretch is shorter than a window.
    runs = [run(2), run(1100)]
    found = try_network(SPEC, runs, options, budget=30.0, progress=False, device="cpu")
    assert isinstance(found, Trial)
    assert 5 <= found.change["epochs"] <= 30
    assert found.gain is not None and found.error is not None
    assert found.score == pytest.approx(1 - found.gain)
    assert found.kept == (found.gain > max(found.error, 0.005))
    assert "no network was tried: trial and training take" in str(
        try_network(SPEC, runs, options, budget=0.0, progress=False, device="cpu")
    )


def test_without_a_width_no_network_is_tried() -> None:
    options, many = TrainingOptions(width=()), [run(1100)]
    assert time_for_network(SPEC, many, options, budget=1e6) == 0
    assert "width=() asks for none" in str(try_network(SPEC, many, options, budget=30.0, progress=False))


def test_time_is_kept_for_a_network_where_it_is_enough_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    options, many = TrainingOptions(width=(8,), blocks=1, location=4, batch=64), [run(1100)]
    assert 0 < time_for_network(SPEC, many, options, budget=1e6, device="cpu") < 1e5
    monkeypatch.setattr(trial, "_time_of_a_step", lambda _, __, options: options.batch / 64)
    whole = time_for_network(SPEC, many, options, budget=1e6)
    assert whole == pytest.approx((10 + 30) * 18 / 0.85)
    assert time_for_network(SPEC, many, options, budget=whole) == pytest.approx(0.7 * whole)
    assert time_for_network(SPEC, many, options, budget=0.7 * whole) == 0
    assert time_for_network(SPEC, many, options, budget=0) == 0
    assert time_for_network(SPEC, [run(900)], options, budget=1e6) == 0


@pytest.mark.parametrize(("budget", "batches"), [(1e6, [4, 64]), (100.0, [4])])
def test_steps_that_take_long_are_measured_with_few_windows(
    monkeypatch: pytest.MonkeyPatch, budget: float, batches: list[int]
) -> None:
    seen = []

    def step(networks: LatentPrior, windows: object, options: TrainingOptions) -> float:
        seen.append(options.batch)
        return 0.1 * options.batch

    monkeypatch.setattr(trial, "_time_of_a_step", step)
    options = TrainingOptions(width=(8,), blocks=1, location=4, batch=64)
    time_for_network(SPEC, [run(1100)], options, budget=budget)
    assert seen == batches


def test_why_nothing_was_tried_is_recorded() -> None:
    few = {"epochs": 0, "coupled": 0, "mean_order": 1, "seasonal": 0}
    record = chosen([run(200)], budget=1e-4, **few).spec.training
    assert record["trials"] == []
    assert "one trial takes about" in record["search"]
    assert "too short" in chosen([run(9)], **few).spec.training["search"]
    # Nothing was asked for, and nothing is missing.
    assert "search" not in chosen([run(200)], budget=0, **few).spec.training


def test_settings_are_tried_on_a_part_of_many_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [run(700), run(1500, seed=1)]
    frames = sum(len(season) for _, season in runs)
    # Two variables in 2 x 8 cells.
    least = selection._FRAMES_PER_VALUE * 32
    for slower, few in ((1, False), (1e5, True)):
        monkeypatch.setattr(selection, "_SPEED", 3e10 / slower)
        model = chosen(runs, patch=1, epochs=0, folds=0, seasonal=0, budget=60)
        assert len(model.spec.training["trials"]) > 1
        searched = model.spec.training.get("searched", frames)
        assert (least <= searched <= 2 * least) if few else searched == frames
    # The model is made of all of them, as with the same settings and no search.
    settings = TrainingOptions.of(model.spec.training["settings"])
    again = fit_arrays(SPEC, runs, settings, seed=0, progress=False, device="cpu")
    for one, other in zip(model.prior().state_dict().values(), again.prior().state_dict().values(), strict=True):
        assert torch.equal(one, other)


@given(lengths=st.lists(st.integers(3, 400), min_size=1, max_size=6), seconds=st.floats(0, 1e-3))
def test_frames_are_left_out_until_a_trial_is_short_or_few_are_left(lengths: list[int], seconds: float) -> None:
    runs = [run(length) for length in lengths]
    options = TrainingOptions(folds=0)
    some = selection._fewer(SPEC, runs, options, seconds, "cpu")
    frames, before = (sum(len(season) for _, season in r) for r in (some, runs))
    spec = with_architecture(SPEC, options)
    least = selection._FRAMES_PER_VALUE * selection._blocks(spec)[1]
    assert min(before, least) <= frames <= before
    # One more stretch might not be left out.
    assert selection._seconds(spec, some, options, "cpu") <= seconds or frames < 2 * least + 2 * 90


def test_one_slow_trial_does_not_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    examine, calls = selection._Examined.__call__, []

    def slow_once(self: object, *args: Any, **options: Any) -> tuple[Any, float]:
        scores, seconds = examine(self, *args, **options)  # type: ignore[arg-type]
        calls.append(seconds)
        return scores, 1e6 if len(calls) == 3 else seconds

    monkeypatch.setattr(selection._Examined, "__call__", slow_once)
    assert len(chosen([run(200)], epochs=0, budget=1000.0).spec.training["trials"]) > 3


def test_an_unknown_setting_is_refused_before_anything_is_tried() -> None:
    with pytest.raises(OptionError, match="mods"):
        chosen([run(100)], mods=3)


@pytest.mark.parametrize("lengths", [(365,), (100, 3, 90), (61,), (2000,), (30, 30, 30)])
def test_parts_are_disjoint_and_nothing_is_in_both(lengths: tuple[int, ...]) -> None:
    count = 0
    runs = []
    for length in lengths:
        numbers = np.arange(count, count + length, dtype=float)
        runs.append((numbers[:, None, None, None], numbers))
        count += length
    folds = deal(SPEC, runs, 3)
    assert folds
    seen: list[float] = []
    for kept, left_out in folds:
        inside, outside = (np.concatenate([season for _, season in part]) for part in (kept, left_out))
        assert not set(inside) & set(outside)
        assert len(inside) > 0.6 * count
        seen += list(outside)
    assert len(seen) == len(set(seen))


def test_cases_do_not_overlap() -> None:
    for frames in range(6, 40):
        first = starts(frames, 6, 4)
        assert all(b - a >= 6 for a, b in itertools.pairwise(first))
        assert first[-1] + 6 <= frames


def test_scores_are_those_of_dense_linear_algebra() -> None:
    fields, season = run(200)
    options = TrainingOptions()
    torch.manual_seed(0)
    spec = with_architecture(SPEC, options)
    prior, _, _ = fit_gaussian_stages(spec, [(fields, season)], options, torch.device("cpu"), progress=False)
    unseen = [torch.as_tensor(a, dtype=torch.float32) for a in run(60, seed=9)]
    cases = [(unseen[0][i : i + 4], unseen[1][i : i + 4]) for i in range(0, 56, 4)]
    examination = Examination(spec, cases, transform=prior, scale=torch.tensor([1.0, 1.0]), size=torch.ones(1), seed=3)
    scores = examination.scores(prior)
    variance, error = _dense(prior, examination)
    torch.testing.assert_close(scores.square_error.mean(1), error, rtol=0.02, atol=0.01)
    # The variance is an average over draws.
    assert float(scores.variance.mean()) == pytest.approx(float(variance.mean()), rel=0.1)


@given(
    scale=st.floats(0.1, 10), size=st.floats(0.01, 100), offset=st.floats(-3, 3), aux=st.integers(0, 2),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_errors_of_auxiliary_variables_are_of_one_size_in_their_units(
    scale: float, size: float, offset: float, aux: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    kinds = [VariableSpec("t", "K"), *(VariableSpec(f"a{n}", "mm/day", role="aux") for n in range(aux))]
    # One curve bends at what is a large amount to one user and a small one to another; the state has none.
    kinds[1:] = [dataclasses.replace(kind, transform="sqrt", scale=scale) for kind in kinds[1:]]
    spec = dataclasses.replace(SPEC, variables=tuple(kinds))
    fields = offset + rng.standard_normal((60, 1 + aux, *SPEC.frame_shape[1:]))
    fields[:, 1:] *= size
    season = np.arange(60) % 365 / 365.25
    prior, _, _ = fit_gaussian_stages(
        with_architecture(spec, TrainingOptions()), [(fields, season)], TrainingOptions(), torch.device("cpu"),
        progress=False,
    )  # fmt: skip
    unseen = torch.as_tensor(fields, dtype=torch.float32), torch.as_tensor(season, dtype=torch.float32)
    cases = [(unseen[0][i : i + 6], unseen[1][i : i + 6]) for i in range(0, 60, 6)]
    examination = Examination(spec, cases, transform=prior, scale=torch.ones(1 + aux), size=torch.ones(1), seed=seed)
    physical = prior.normalization.inverse_transform(examination._observed) - torch.stack([u for u, _ in cases])
    assert float(physical[:, :, 0].std()) == pytest.approx(0.3, rel=0.1)
    for n in range(1, 1 + aux):
        for kind, share in enumerate((0.3, 0.2)):
            errors = physical[kind::2, :, n]
            assert float(errors.std() / (size * share)) == pytest.approx(1, rel=0.2)
            # They are no larger where the values are.
            values = torch.stack([u for u, _ in cases])[kind::2, :, n]
            assert abs(float(torch.corrcoef(torch.stack([errors, values]).abs().flatten(1))[0, 1])) < 0.25


def _dense(prior: LatentPrior, examination: Examination) -> tuple[torch.Tensor, torch.Tensor]:
    """Posterior variance and squared error of the mean for each case, by matrices."""
    n = 4 * int(np.prod(prior.shape))
    eye = torch.eye(n).reshape(n, 4, *prior.shape)
    cov = prior.gaussian.trajectory(4).apply(lambda d: d, eye).flatten(1).double()
    decoder = prior.autoencoder.decoder()
    j = decoder(eye).flatten(1).T.double()
    cov = j @ cov @ j.T
    variances, errors = [], []
    for i, season in enumerate(examination._season):
        mean, std = prior.normalization.climatology(season)
        seen = examination._seen[i].expand(4, -1, -1, -1).flatten()
        truth = examination._truth[i]
        error = examination._error(prior, mean[None].expand(len(examination._season), -1, -1, -1, -1))[i]
        y = ((examination._observed[i] - mean) / std).flatten()[seen].double()
        r = (error / std).square().flatten()[seen].double()
        gain = torch.linalg.solve(cov[seen][:, seen] + torch.diag(r), cov[seen]).T
        post = (cov - gain @ cov[seen]).diagonal().reshape(truth.shape).float()
        found = mean + std * (gain @ y).reshape(truth.shape).float()
        weight = examination._weight
        variances.append((weight * std.square() * post)[:, :1].mean())
        errors.append((weight * (found - truth).square())[:, :1].mean())
    return torch.stack(variances), torch.stack(errors)


def test_auxiliary_gaps_are_no_observations() -> None:
    fields, season = run(200)
    gaps = fields.copy()
    gaps[:, 1, 0, :3] = np.nan
    gaps[50:60, 1] = np.nan
    model = chosen([(gaps, season)], epochs=0, mean_order=1, coupled=0)
    assert all(bool(torch.isfinite(w.float()).all()) for w in model.prior().storage_state().values())
    assert model.spec.scores["held_out"]["t"]["relative_crps"][0] < 0.95


def test_candidates_that_share_work_have_the_bits_of_those_that_do_not() -> None:
    runs = [run(400)]
    made: list[TrainingOptions] = []

    def latents(spec: Spec, options: TrainingOptions) -> Latents:
        made.append(options)
        torch.manual_seed(0)
        return fit_latents(spec, runs, options, torch.device("cpu"), progress=False)

    candidates = Candidates(latents)
    options = TrainingOptions(modes=6, patch=1)
    for change in (
        {}, {"modes": 4}, {"modes": 100}, {"coupled": 5}, {"coupling": 0.9}, {"smoothing": 3}, {"inflation": 1.2},
        {"seasonal": 6}, {"seasonality": 0.8}, {"localization": 800.0}, {"folds": 0}, {"shrinkage": 0.1}, {"lags": 2},
        {"mean_order": 2}, {"patch": 2, "hidden": 4, "autoencoder_epochs": 1},
    ):  # fmt: skip
        options = dataclasses.replace(options, **change)
        spec = with_architecture(SPEC, options)
        torch.manual_seed(0)
        expected, _, _ = fit_gaussian_stages(spec, runs, options, torch.device("cpu"), progress=False)
        found = candidates.prior(spec, options).state_dict()
        for name, weights in expected.state_dict().items():
            torch.testing.assert_close(found[name], weights, rtol=0, atol=0)
    assert len(made) == 3


def differing(days: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells on one half of a latitude circle have much in common, and nothing on the other."""
    rng = np.random.default_rng(0)
    z = 0.3 * rng.standard_normal((days, 1, 4, 12))
    z[..., :6] += rng.standard_normal((days, 1, 1, 1))
    z[..., 6:] += rng.standard_normal((days, 1, 4, 6))
    return z, (np.arange(days) % 365) / 365.25


CIRCLE = Spec(
    variables=(VariableSpec("t", "K"),), lat=(-60.0, -20.0, 20.0, 60.0), lon=tuple(np.arange(12) * 30.0), periodic=True,
    window=3,
)  # fmt: skip


def test_candidates_that_differ_in_local_covariances_share_work_as_well() -> None:
    runs = [differing(200)]
    candidates = Candidates(lambda spec, options: fit_latents(spec, runs, options, torch.device("cpu"), progress=False))
    options = TrainingOptions(modes=4, folds=2, local=0)
    for change in (
        {}, {"local": 8}, {"locality": 0.9}, {"local_length": 3000.0}, {"local": 20}, {"seasonal": 3}, {"modes": 3},
        {"local": 0},
    ):  # fmt: skip
        options = dataclasses.replace(options, **change)
        spec = with_architecture(CIRCLE, options)
        expected, _, _ = fit_gaussian_stages(spec, runs, options, torch.device("cpu"), progress=False)
        found = candidates.prior(spec, options).state_dict()
        assert found.keys() == expected.state_dict().keys()
        for name, weights in expected.state_dict().items():
            torch.testing.assert_close(found[name], weights, rtol=0, atol=0)


def test_covariances_that_differ_along_a_circle_are_found() -> None:
    few = FEW | {"epochs": 0, "coupled": 0, "mean_order": 0, "seasonal": 0, "normal_scores": ()}
    found = [
        fit_chosen(CIRCLE, [differing(365)], few | given, budget=60.0, seed=0, progress=False, device="cpu")
        for given in ({"local": 0}, {})
    ]
    without, own = (model.spec.scores["held_out"]["t"]["relative_crps"][0] for model in found)
    assert [t["change"] for t in found[0].spec.training["trials"][1:]] == []
    assert found[1].spec.training["settings"]["local"] == 300
    assert own < 0.95 * without


def test_a_covariance_that_varies_with_the_season_is_found() -> None:
    rng = np.random.default_rng(0)
    season = np.arange(1095) % 365 / 365.25
    x = rng.standard_normal((1095, 2, 2, 8))
    # What the auxiliary variable tells of the state is of opposite sign in winter and in summer.
    x[:, 1] = np.cos(2 * np.pi * season)[:, None, None] * x[:, 0] + 0.3 * x[:, 1]
    few = FEW | {"mean_order": 0, "coupled": 0, "seasonality": 0.5, "epochs": 0}
    model = chosen([(x, season)], **few)
    assert model.spec.training["settings"]["seasonal"] > 0
    assert model.spec.scores["held_out"]["t"]["relative_crps"][0] < 0.97


def test_what_observing_a_variable_is_worth_is_recorded() -> None:
    model = chosen([run(240)], epochs=0, coupled=0, mean_order=1, seasonal=0)
    worth = model.spec.scores["auxiliary"]
    assert set(worth) == {"pr"}
    assert worth["pr"]["gain"] > worth["pr"]["error"] > 0


def test_an_auxiliary_variable_that_raises_the_error_is_left_out_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def choose_badly(*args: Any, **given: Any) -> Choice:
        return dataclasses.replace(choose(*args, **given), benefits={"pr": Benefit(-0.1, 0.01)})

    monkeypatch.setattr(automatic, "choose", choose_badly)
    with pytest.warns(match="left out of the model: pr"):
        model = chosen([run(100)], epochs=0, budget=0)
    assert [v.name for v in model.spec.variables] == ["t"]
    assert model.prior().shape == (1, 2, 8)
    assert model.spec.training["left_out"] == ["pr"]
    assert model.spec.scores["auxiliary"]["pr"]["gain"] == -0.1


def test_the_spread_of_each_channel_is_brought_to_its_error() -> None:
    rng = np.random.default_rng(0)
    fields, season = run(365)
    lively = 280 + rng.standard_normal((365, 1, 2, 8))
    spec = dataclasses.replace(SPEC, variables=(VariableSpec("t", "K"), VariableSpec("q", "K")))
    few = FEW | {"epochs": 0, "coupled": 0, "mean_order": 1, "seasonal": 0, "inflation": 0.7}
    del few["spread"]
    choice = choose(
        spec, [(np.concatenate([fields[:, :1], lively], 1), season)], few, budget=60, device="cpu", progress=False
    )
    assert choice.scores is not None
    ratio = (choice.scores.variance.mean(0) / choice.scores.square_error.mean(0)).sqrt()
    assert len(choice.options.spread) == 2
    assert bool(((ratio > 0.9) & (ratio < 1.1)).all())


def test_factors_of_spread_widen_the_prior() -> None:
    plain, wide = (
        fit_arrays(SPEC, [run(100)], TrainingOptions(spread=spread), progress=False, device="cpu").prior()
        for spread in ((), (2.0,))
    )
    season = torch.tensor([0.1, 0.5])
    ratio = wide.fields(season).spread / plain.fields(season).spread
    torch.testing.assert_close(ratio[:, 0], torch.full((2, 2, 8), 2.0), rtol=2e-3, atol=0)
    torch.testing.assert_close(ratio[:, 1], torch.ones(2, 2, 8))
    with pytest.raises(OptionError, match="1 channels"):
        fit_arrays(SPEC, [run(100)], TrainingOptions(spread=(1.0, 2.0)), progress=False)


def test_a_hopeless_change_is_judged_by_the_first_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    examined: list[Examination] = []
    judge = Examination.scores

    def counted(self: Examination, prior: LatentPrior, hidden: slice | None = None) -> Any:
        examined.append(self)
        return judge(self, prior, hidden)

    monkeypatch.setattr(Examination, "scores", counted)
    monkeypatch.setattr(selection, "_CHANGES", ({"inflation": 9.0},))
    few = FEW | {"normal_scores": (), "mean_order": 1}
    del few["inflation"]
    choice = choose(SPEC, [run(365)], few, budget=60, device="cpu", progress=False)
    trial = choice.trials[1]
    assert trial.gain is not None and trial.error is not None
    assert not trial.kept
    assert trial.gain < -3 * trial.error
    assert trial.score > choice.trials[0].score
    # Three parts at first, one of the change, and three without observations of the auxiliary variable.
    assert len(examined) == 3 + 1 + 3
