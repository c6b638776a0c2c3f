"""Laws of learned operators: what generated the values is found, and survives a file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams.errors import ModelError
from xslams.learned import States, Values, from_storage, joint_errors, learn, to_storage
from xslams.learned.inversion import inverse_skill
from xslams.learned.regression import centre_weights, regress
from xslams.sphere import unit_vectors

LAT, LON = np.array([40.0, 45.0]), np.array([0.0, 5.0, 10.0])


def states(frames=800, seed=0):
    """Fields of two channels that persist, around a seasonal cycle."""
    rng = np.random.default_rng(seed)
    noise, x = rng.standard_normal((frames, 2, 2, 3)), np.zeros((frames, 2, 2, 3))
    for t in range(1, frames):
        x[t] = 0.7 * x[t - 1] + noise[t]
    season = (np.arange(frames) / 365.25) % 1.0
    fields = 280 + 3 * x + 10 * np.cos(2 * np.pi * season)[:, None, None, None]
    return States(fields, season, np.arange(frames, dtype=float), LAT, LON, 24.0, (3, 2, 3)), x


def values(x, noise=0.5, seed=1, **given):
    rng = np.random.default_rng(seed)
    y = np.stack([x[:, 0, 0, 0] - x[:, 1, 1, 2], x[:, 0, 1, 1]], axis=1) + noise * rng.standard_normal((len(x), 2))
    y[rng.random(y.shape) < 0.1] = np.nan
    return Values(y, np.array([40.0, 45.0]), np.array([0.0, 5.0]), "stations", "tas", "K", **given)


@pytest.fixture(scope="module")
def learned():
    given, x = states()
    return learn(given, values(x)), given, x


def predictions(operator, given, frames):
    """Anomalies that an operator predicts at its places, and their errors."""
    frame, place = np.repeat(frames, 2), np.tile([0, 1], len(frames))
    whole = np.zeros((len(given.season), *given.frame_shape))
    whole[:, :2] = given.fields
    n = np.full(frame.shape, 0), np.full(frame.shape, len(given.season))
    rows, offset, sigma = operator.rows(frame, place, given.season, *n, len(given.season))
    return (rows @ whole.ravel() + offset).reshape(-1, 2), sigma.reshape(-1, 2)


def test_what_made_the_values_is_found(learned):
    found, given, x = learned
    new = values(x, noise=0.0).values
    predicted, sigma = predictions(found.operator, given, np.arange(300, 400))
    truth = np.stack([x[300:400, 0, 0, 0] - x[300:400, 1, 1, 2], x[300:400, 0, 1, 1]], axis=1)
    truth = truth / found.operator.spread
    assert new.shape[1] == 2
    assert np.abs(predicted - truth).std() < 0.15
    # The stated error is that of new values.
    assert sigma.mean(0) * found.operator.spread == pytest.approx([0.5, 0.5], rel=0.15)
    assert found.operator.held_out_skill > 0.8
    assert found.operator.informative.all()


def test_errors_stated_are_those_of_values_not_seen(learned):
    found, _, _ = learned
    assert np.nanstd(found.residual, axis=0) == pytest.approx([1, 1], abs=0.1)


def test_the_ends_of_a_stretch_have_the_frame_of_the_value_alone():
    given, x = states()
    y = 0.5 * (np.roll(x, 1, axis=0) + np.roll(x, -1, axis=0))[:, 0, 0, :2]
    operator = learn(given, Values(y, np.array([40.0, 40.0]), np.array([0.0, 5.0]), "a", "tas", "K")).operator
    assert [p.lags for p in operator.coefficients] == [(-1, 0, 1), (0,)]
    _, sigma = predictions(operator, given, np.array([0, 400, 799]))
    assert sigma[1].max() < 0.3 * sigma[[0, 2]].min()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000))
def test_noise_has_no_weight(seed):
    given, _ = states(400)
    y = np.random.default_rng(seed).standard_normal((400, 2))
    operator = learn(given, Values(y, np.array([40.0, 45.0]), np.array([0.0, 5.0]), "noise", "n", "1")).operator
    assert operator.held_out_skill < 0.04
    assert operator.held_out_skill > 0 or not operator.informative.any()


def test_rain_gets_a_transform():
    given, x = states()
    rng = np.random.default_rng(2)
    y = np.maximum(np.expm1(1.5 * x[:, 0, 0, :1] + 0.3 * rng.standard_normal((800, 1))), 0)
    operator = learn(given, Values(y, np.array([40.0]), np.array([0.0]), "gauge", "pr", "mm")).operator
    assert operator.transform != "identity"


def test_operators_survive_a_file(learned):
    operator = learned[0].operator
    records, arrays = to_storage([operator, operator])
    assert sum(name.endswith("between") for name in arrays) == 1
    back = from_storage(records, arrays, operator.frame_shape)
    assert back[0].errors is back[1].errors
    given = learned[1]
    for a, b in zip(predictions(operator, given, np.arange(5)), predictions(back[1], given, np.arange(5)), strict=True):
        assert a == pytest.approx(b, abs=1e-5)


@pytest.mark.parametrize(
    ("entry", "change"),
    [
        ("lat", lambda a: a[:-1]),
        ("tile", lambda a: a + 7),
        ("spread", lambda a: -a),
        ("kind", lambda a: a.astype(float)),
        ("between", lambda a: a[:1]),
        ("coefficients.0.weights", lambda a: a * np.nan),
        ("coefficients.0.error", lambda a: a * 0),
        ("tiles.0.columns", lambda a: a + 1000),
    ],
)
def test_damage_is_refused(learned, entry, change):
    records, arrays = to_storage([learned[0].operator])
    arrays[f"operators.0.{entry}"] = change(arrays[f"operators.0.{entry}"])
    with pytest.raises(ModelError, match="damaged"):
        from_storage(records, arrays, (3, 2, 3))


def test_errors_that_move_survive_a_file(learned):
    rng = np.random.default_rng(0)
    e = rng.standard_normal((3000, 2))
    e[1:, 1] += e[:-1, 0]
    operator = learned[0].operator.with_errors(joint_errors(e / e.std(axis=0)), np.arange(2))
    records, arrays = to_storage([operator])
    (back,) = from_storage(records, arrays, operator.frame_shape)
    assert operator.errors.before is not None
    assert back.errors.before == pytest.approx(operator.errors.before, abs=1e-5)
    assert back.errors.between == pytest.approx(operator.errors.between, abs=1e-5)
    for damaged in (arrays["operators.0.before"][:1], arrays["operators.0.before"] * np.nan):
        with pytest.raises(ModelError, match="damaged"):
            from_storage(records, arrays | {"operators.0.before": damaged}, (3, 2, 3))


@pytest.mark.parametrize("entry", ["name", "transform", "scale", "lags", "errors", "tiles"])
def test_damaged_records_are_refused(learned, entry):
    records, arrays = to_storage([learned[0].operator])
    with pytest.raises(ModelError, match="damaged"):
        from_storage([{**records[0], entry: None}], arrays, (3, 2, 3))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 7), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5))
def test_centres_of_the_year_share_every_day(centres, season):
    weights = centre_weights(np.array(season), centres)
    assert weights.sum(1) == pytest.approx(np.ones(len(season)))
    assert (weights >= 0).all()
    assert weights == pytest.approx(centre_weights(np.array(season) + 1, centres), abs=1e-9)


def test_gaps_are_no_zeros():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((500, 3))
    y = x @ rng.standard_normal((3, 4))
    y[rng.random(y.shape) < 0.15] = np.nan
    found = regress(x, y, np.zeros(500), np.arange(500) // 100, centres=1, width=None, penalties=(1e-4,),
                    wanted=np.ones(3, bool))  # fmt: skip
    assert found.skill > 0.99


@settings(max_examples=8, deadline=None)
@given(st.integers(2, 6), st.integers(1, 12), st.floats(0.3, 3))
def test_inverse_skill_is_that_of_the_exact_posterior(features, values, noise):
    rng = np.random.default_rng(features + 10 * values)
    x, w = rng.standard_normal((4000, features)), rng.standard_normal((features, values))
    error = noise * rng.standard_normal((4000, values))
    where = np.zeros(4000, int)
    found = inverse_skill([{0: w}], x, x @ w + error, error, where, where, np.ones(features, bool))
    left = np.linalg.inv(np.eye(features) + w @ w.T / noise**2)
    assert abs(found - (1 - np.trace(left) / features)) < 0.04


@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_the_penalty_is_that_which_finds_the_state_of_new_samples(noise):
    rng = np.random.default_rng(5)
    w = np.zeros((30, 40))
    w[:3] = rng.standard_normal((3, 40))

    def draw(n):
        x = rng.standard_normal((n, 30))
        return x, x @ w + noise * rng.standard_normal((n, 40))

    (x, y), (new, seen) = draw(200), draw(2000)
    penalties, skill = (0.01, 1.0, 30.0), []
    told = {"centres": 1, "width": None, "wanted": np.ones(30, bool)}
    where = np.zeros(200), np.arange(200) // 40
    for penalty in penalties:
        found = regress(x, y, *where, penalties=(penalty,), **told)
        (h,), r = found.weights, found.residual.T @ found.residual / 200
        guess = seen @ np.linalg.solve(h.T @ h + r, h.T)
        skill.append(1 - float(((new - guess) ** 2).sum() / (new**2).sum()))
    chosen = penalties.index(regress(x, y, *where, penalties=penalties, **told).penalty)
    assert skill[chosen] > max(skill) - 0.01
    assert min(skill) < max(skill) - 0.02


@settings(max_examples=10, deadline=None)
@given(st.floats(0, 0.8), st.floats(0, 0.9), st.integers(2, 5))
def test_correlations_are_those_that_made_the_errors(common, memory, n):
    rng = np.random.default_rng(0)
    noise = np.sqrt(common) * rng.standard_normal((3000, 1)) + np.sqrt(1 - common) * rng.standard_normal((3000, n))
    e = noise.copy()
    for t in range(1, len(e)):
        e[t] = memory * e[t - 1] + np.sqrt(1 - memory**2) * noise[t]
    errors = joint_errors(e)
    away = ~np.eye(n, dtype=bool)
    assert (1 - errors.independent) * errors.between[away].mean() == pytest.approx(common, abs=0.2)
    assert errors.persistence == pytest.approx(memory, abs=0.1) or memory < 0.1
    assert np.linalg.eigvalsh(errors.between)[0] > 0
    assert errors.before is None or errors.before.diagonal() == pytest.approx(np.full(n, memory), abs=0.15)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.integers(1, 4), st.floats(0.1, 0.9))
def test_errors_that_move_are_followed(seed, n, share):
    """What is said of any stretch is a covariance, and near that of the sample where there is much of it."""
    rng = np.random.default_rng(seed)
    step = rng.standard_normal((n, n))
    step *= share / np.linalg.norm(step, 2)
    e = rng.standard_normal((5000, n))
    for t in range(1, len(e)):
        e[t] += step @ e[t - 1]
    e /= e.std(axis=0)
    errors = joint_errors(e)
    if errors.before is None:
        assert np.abs(e[1:].T @ e[:-1] / len(e)).mean() < 0.03
        return
    lagged = errors.lagged
    apart = range(min(len(lagged), 5))
    whole = np.block([[lagged[i - j] if i >= j else lagged[j - i].T for j in apart] for i in apart])
    assert np.linalg.eigvalsh(whole)[0] > 1e-3
    sample = e[1:].T @ e[:-1] / (len(e) - 1)
    assert np.abs(0.9 * sample - errors.before).max() < 0.1


@pytest.mark.parametrize("frames", [80, 800])
def test_few_samples_say_little_of_how_errors_move(frames):
    rng = np.random.default_rng(0)
    e = rng.standard_normal((frames, 30))
    for t in range(1, frames):
        e[t] = 0.6 * e[t - 1] + 0.8 * e[t]
    errors = joint_errors(e)
    assert (errors.before is None) == (frames == 80)
    assert errors.persistence == pytest.approx(0.6, abs=0.1)
    if errors.before is not None:
        away = ~np.eye(30, dtype=bool)
        assert np.abs(errors.before[away]).mean() < 0.4 * np.abs((e[1:].T @ e[:-1] / frames)[away]).mean()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.floats(0, 0.5))
def test_errors_of_pairs_of_values_that_were_seen_at_other_times_go_together(seed, missing):
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(1000)
    for t in range(1, 1000):
        common[t] = 0.95 * common[t - 1] + np.sqrt(1 - 0.95**2) * common[t]
    e = common[:, None] + 0.1 * rng.standard_normal((1000, 6))
    e[rng.random(e.shape) < missing] = np.nan
    errors = joint_errors(e)
    assert errors.before is not None
    whole = np.block([[errors.between, errors.before], [errors.before.T, errors.between]])
    assert np.linalg.eigvalsh(whole)[0] > 0


def test_places_are_found_again():
    lat, lon = np.array([10.0, -89.0]), np.array([359.999, 40.0])
    assert unit_vectors(lat, lon) == pytest.approx(unit_vectors(lat, lon - 360))
