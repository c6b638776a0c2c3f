"""Correlated errors as users give them: from labels to the correlation of the values that are used."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.problems.observed import SPEC, reports, state
from xslams import ErrorCovariance, Observation
from xslams.errors import ObservationOptionError
from xslams.likelihood import SourceLikelihood
from xslams.observations import reduced

_RADIUS = 6371.0


def gauges(missing: bool = False) -> xr.DataArray:
    values = np.random.default_rng(0).gamma(1.0, 3.0, (4, 5))
    if missing:
        values[1, 2] = values[3, 0] = np.nan
    return reports(values)


def likelihood(source: Observation) -> SourceLikelihood:
    return source.to_arrays(SPEC, state()["time"])


def chords(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    a, b = np.deg2rad(lat), np.deg2rad(lon)
    v = np.stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)], -1)
    return _RADIUS * np.linalg.norm(v[:, None] - v, axis=-1)


def expected(da: xr.DataArray, length: float | None, time: float | None, between: np.ndarray | None) -> np.ndarray:
    """Correlation of all values of gauges ``(time, station)``, by its definition."""
    r = chords(da["lat"].values, da["lon"].values) / (length or 1)
    if length is not None:
        space = (1 + r) * np.exp(-r)
    else:
        space = np.eye(da.sizes["station"]) if between is None else np.ones_like(r)
    if between is not None:
        space = space * between
    hours = np.arange(da.sizes["time"]) * 24.0
    apart = np.abs(hours[:, None] - hours)
    temporal = np.eye(hours.size) if time is None else np.exp(-apart / time)
    whole = np.kron(temporal, space)
    return np.where(np.eye(len(whole)) > 0, 1.0, 0.99 * whole)


BETWEEN = 0.3 + 0.7 * np.eye(5)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("between", [None, BETWEEN])
@pytest.mark.parametrize(("length", "time"), [(None, 30.0), (4000.0, None), (4000.0, 30.0), (None, None)])
def test_correlations_are_those_of_the_definition(length, time, between, missing):
    da = gauges(missing)
    given = None
    if between is not None:
        # Labels in another order, and one more of them.
        order = ["s4", "s0", "s1", "s3", "s2"]
        given = xr.DataArray(
            2.0 * between, dims=("station", "other"), coords={"station": da["station"], "other": da["station"].values}
        ).sel(station=order, other=order)
    if given is None and length is None and time is None:
        assert likelihood(Observation(da, error=ErrorCovariance(2.0))).errors.correlation is None
        return
    found = likelihood(Observation(da, error=ErrorCovariance(2.0, length=length, time=time, covariance=given)))
    used = ~np.isnan(da.values.ravel())
    exact = expected(da, length, time, between)[np.ix_(used, used)]
    np.testing.assert_allclose(found.errors.correlation.matrix(), exact, atol=1e-12)
    np.testing.assert_allclose(found.errors.instrument, 4.0)
    part = found.keep(np.arange(found.size) % 2 == 0)
    np.testing.assert_allclose(part.errors.correlation.matrix(), exact[::2, ::2], atol=1e-12)


def test_windows_see_the_covariance_of_the_values_that_they_see():
    da = gauges()
    source = Observation(da, error=ErrorCovariance(1.0, length=3000.0, time=48.0))
    bound = source.bind(SPEC, state()["time"])
    whole = bound.likelihood().errors.correlation.matrix()

    class Window:
        start, stop, first, last = 1, 4, 2, 4

    part = bound.within(Window()).likelihood().errors.correlation.matrix()
    np.testing.assert_allclose(part, whole[5:, 5:], atol=1e-12)


def test_levels_are_correlated_in_the_logarithm_of_pressure():
    t = state()["t"].isel(lat=[1, 3], lon=[0, 2])
    found = likelihood(Observation(t, error=ErrorCovariance(1.0, vertical=0.5)))
    matrix = found.errors.correlation.matrix().reshape(4, 3, 4, 4, 3, 4)
    r = abs(np.log(1000.0 / 500.0)) / 0.5
    assert matrix[0, 0, 0, 0, 2, 0] == pytest.approx(0.99 * (1 + r) * np.exp(-r))
    assert matrix[0, 0, 0, 0, 0, 1] == matrix[0, 0, 0, 1, 0, 0] == 0


def test_variables_of_a_source_are_correlated_by_name():
    ds = state()
    both = ds[["pr"]].assign(t=ds["t"].sel(level=850.0).drop_vars("level")).isel(lat=[2], lon=[1, 5])
    both["t"] = both["t"].assign_coords(level=850.0)
    both["t"]["level"].attrs.update(units="hPa", axis="Z")
    both["pr"][0, 0, 0] = np.nan
    names = ["pr", "t"]
    cov = xr.DataArray([[4.0, 1.0], [1.0, 1.0]], dims=("variable", "other"), coords={"variable": names})
    source = Observation(both, error=ErrorCovariance(covariance=cov))
    parts = [p.likelihood for p in source.bind(SPEC, ds["time"]).audited()]
    assert {p.name.split(":")[1]: float(p.errors.instrument[0]) for p in parts} == {"pr": 4.0, "t": 1.0}
    matrix = SourceLikelihood.joined("both", parts).errors.correlation.matrix()
    sizes = [p.size for p in parts]
    cross = matrix[: sizes[0], sizes[0] :]
    assert sorted(sizes) == [7, 8]
    assert (np.count_nonzero(cross, axis=0 if sizes[0] == 8 else 1) <= 1).all()
    assert np.count_nonzero(cross) == 7
    assert cross.max() == pytest.approx(0.99 * 0.5)


def test_means_over_boxes_have_the_variance_of_correlated_errors():
    da = reports(np.ones((2, 3)), lat=[10.0, 10.1, 50.0], lon=[10.0, 10.1, 50.0])
    source = Observation(da, error=ErrorCovariance(1.0, length=50.0), qc={"superob": 500.0})
    (part,) = source.bind(SPEC, state()["time"]).audited()
    mean = reduced(part).likelihood
    r = chords(np.array([10.0, 10.1]), np.array([10.0, 10.1]))[0, 1] / 50.0
    pair = (1 + 0.99 * (1 + r) * np.exp(-r)) / 2
    assert sorted(mean.errors.variance) == pytest.approx([pair, pair, 1.0, 1.0])
    assert np.count_nonzero(mean.errors.correlation.matrix() > 0.5) == 4


SINGULAR = xr.DataArray(np.ones((5, 5)), dims=("station", "other"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0.0}, "length=0.0; expected a positive number of km"),
        ({"length": -1}, "length=-1"), ({"time": 0}, "time=0"), ({"time": "1D"}, "time='1D'"),
        ({"vertical": np.inf}, "vertical=inf"), ({"length": np.nan}, "length=nan"), ({"length": True}, "length=True"),
        ({"independent": 1.5}, "independent=1.5"), ({"independent": -0.1}, "independent=-0.1"),
        ({"std": -1.0}, "negative"), ({"std": None}, "needs std="),
        ({"covariance": SINGULAR, "independent": 0.0}, "singular"),
        ({"covariance": SINGULAR * np.nan}, "missing values"),
        ({"covariance": SINGULAR.astype(str)}, "real numbers"), ({"covariance": SINGULAR * 1j}, "real numbers"),
        ({"covariance": SINGULAR[:0, :0]}, "real numbers"),
        ({"covariance": SINGULAR.rename(station="variable")}, "does not name them"),
        ({"covariance": SINGULAR[:2]}, "square"), ({"covariance": np.eye(5)}, "square"),
        ({"covariance": SINGULAR + xr.DataArray(np.triu(np.ones((5, 5)), 1), dims=("station", "other"))}, "symmetric"),
    ],
)  # fmt: skip
def test_what_is_no_covariance_is_refused(options, message):
    with pytest.raises(ObservationOptionError, match=message):
        ErrorCovariance(**{"std": 1.0, **options})


@pytest.mark.parametrize("qc", [{"robust": "huber"}, {"bias_error": 1.0}])
def test_what_does_not_go_with_correlated_errors_is_refused(qc):
    with pytest.raises(ObservationOptionError, match=f"{next(iter(qc))}=.*correlated errors"):
        Observation(gauges(), error=ErrorCovariance(1.0, time=24.0), qc=qc)
    with pytest.raises(ObservationOptionError, match="correlated errors"):
        Observation(gauges(), error=1.0, qc=qc).replace(error=ErrorCovariance(1.0, length=10.0))


def test_a_covariance_has_to_fit_the_data():
    def of(covariance: xr.DataArray) -> None:
        likelihood(Observation(gauges(), error=ErrorCovariance(1.0, covariance=covariance)))

    small = xr.DataArray(np.eye(4), dims=("station", "other"))
    with pytest.raises(ObservationOptionError, match="size 4 along 'station'"):
        of(small)
    with pytest.raises(ObservationOptionError, match="lacks 's4'"):
        of(small.assign_coords(station=["s0", "s1", "s2", "s3"]))
    with pytest.raises(ObservationOptionError, match="'channel', which the data do not have"):
        of(small.rename(station="channel"))
    with pytest.raises(ObservationOptionError, match=r"expected time="):
        of(small.rename(station="time"))
    with pytest.raises(ObservationOptionError, match="one for all of a source"):
        Observation(gauges(), error={"pr": ErrorCovariance(1.0, time=3.0)})
