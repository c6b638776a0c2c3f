"""What a file calls missing or invalid is missing, whatever the types of its attributes, wherever it is read."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from tests.problems.states import SPEC, state
from xslams.errors import CoverageError, SlamsWarning
from xslams.labels.valid_values import limits_in_words, with_valid_values
from xslams.observations import Observation
from xslams.regrid import regrid
from xslams.spec import Spec, VariableSpec

FORMS = {
    "same": lambda v, dtype: np.asarray(v, dtype),
    "wide": lambda v, dtype: np.asarray(v, np.int64),
    "list": lambda v, dtype: np.asarray(v).tolist(),
    "array": lambda v, dtype: np.atleast_1d(np.asarray(v, dtype)),
    "text": lambda v, dtype: ", ".join(str(x) for x in np.atleast_1d(v)),
    "typed": lambda v, dtype: " ".join(f"{x}s" for x in np.atleast_1d(v)),
    "bytes": lambda v, dtype: ";".join(str(x) for x in np.atleast_1d(v)).encode(),
}


@st.composite
def packed(draw: Any) -> tuple[xr.DataArray, np.ndarray]:
    """Packed values with a fill value and limits of any form, and what they stand for."""
    dtype = np.dtype(draw(st.sampled_from(["i1", "i2", "i4"])))
    values = np.array(draw(st.lists(st.integers(-100, 100), min_size=1, max_size=8)), dtype)
    fill = draw(st.sampled_from([None, -127, 55]))
    low, high = sorted(draw(st.tuples(st.integers(-110, 110), st.integers(-110, 110))))
    scale = draw(st.sampled_from([0.01, 0.1, 2.0, -0.1, 3e-5]))
    offset = draw(st.sampled_from([0.0, 273.15, -1e3]))

    def form(value: Any) -> Any:
        return FORMS[draw(st.sampled_from(sorted(FORMS)))](value, dtype)

    which = draw(st.sampled_from(["valid_range", "turned", "both", "valid_min", "valid_max", "none"]))
    attrs = {
        "valid_range": {"valid_range": [low, high]}, "turned": {"valid_range": [high, low]},
        "both": {"valid_min": low, "valid_max": high}, "none": {},
        "valid_min": {"valid_min": low}, "valid_max": {"valid_max": high},
    }[which]  # fmt: skip
    valid = (values >= low) | (which in ("valid_max", "none"))
    valid &= (values <= high) | (which in ("valid_min", "none"))
    if fill is not None:
        attrs[draw(st.sampled_from(["_FillValue", "missing_value"]))] = fill
        valid &= values != fill
    attrs = {name: form(value) for name, value in attrs.items()}
    attrs |= {"scale_factor": draw(st.sampled_from([scale, np.float32(scale), [scale]])), "add_offset": offset}
    return xr.DataArray(values, dims="x", name="t", attrs=attrs), np.where(valid, values * scale + offset, np.nan)


@pytest.mark.filterwarnings("ignore:.*lie outside of its valid range")
@settings(max_examples=60)
@given(packed(), st.booleans(), st.booleans())
def test_packed_values(case: tuple[xr.DataArray, np.ndarray], by_xarray: bool, lazy: bool) -> None:
    raw, expected = case
    if by_xarray:
        # Types that xarray reads by itself; limits stay those of the packed values.
        attrs = {k: float(np.ravel(v)[0]) for k, v in raw.attrs.items() if k in ("scale_factor", "add_offset")}
        fills = {k: v for k, v in raw.attrs.items() if k in ("_FillValue", "missing_value")}
        if any(isinstance(v, str | bytes) for v in fills.values()):
            return
        fills = {k: raw.dtype.type(np.ravel(v)[0]) for k, v in fills.items()}
        raw = xr.decode_cf(raw.assign_attrs(attrs | fills).to_dataset())["t"]
    valid = with_valid_values(raw.chunk(3) if lazy else raw)
    assert (valid.chunks is not None) == lazy
    np.testing.assert_allclose(valid, expected, rtol=1e-6)
    assert with_valid_values(valid).identical(valid)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("limit", ["f4", "f8", "text"])
def test_limits_are_valid_themselves_whatever_rounds_them(dtype: str, limit: str) -> None:
    values = np.array([0.1, 0.3, 0.7, 0.9], dtype)
    given_as = "0.3 0.7" if limit == "text" else np.array([0.3, 0.7], limit)
    valid = with_valid_values(xr.DataArray(values, dims="x", attrs={"valid_range": given_as}))
    np.testing.assert_array_equal(np.isnan(valid), [True, False, False, True])


@pytest.mark.parametrize(
    "attrs",
    [{"missing_value": 1e20}, {"missing_value": "1.e+20f"}, {"_FillValue": np.float64(1e20)}, {"_FillValue": [1e20]},
     {"missing_value": [-999, 1e20]}, {"missing_value": b"1e20", "_FillValue": np.float32(9.96921e36)}],
)  # fmt: skip
@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.filterwarnings("ignore:.*multiple fill values")
def test_fill_values_of_another_type(attrs: dict[str, Any], encoded: bool) -> None:
    da = xr.DataArray(np.array([1.0, 2.0, 1e20], "f4"), dims="x", name="t", attrs=attrs)
    if encoded:
        # Single precision does not equal the double 1e20, so that xarray leaves such values in place.
        da = xr.decode_cf(da.to_dataset())["t"]
    np.testing.assert_array_equal(with_valid_values(da), [1.0, 2.0, np.nan])


@pytest.mark.parametrize(
    "attrs",
    [{"valid_min": "warm"}, {"valid_range": [200.0]}, {"valid_range": [1.0, 2.0, 3.0]}, {"valid_max": [1.0, 2.0]},
     {"valid_min": 300.0, "valid_max": 200.0}, {"valid_range": None, "valid_min": {"a": 1}}, {"valid_max": True},
     {"missing_value": ""}, {"scale_factor": "one"}, {"valid_range": np.array([1j, 2j])}],
)  # fmt: skip
def test_attributes_that_cannot_be_used_are_announced(attrs: dict[str, Any]) -> None:
    da = xr.DataArray([250.0, 280.0], dims="x", name="t", attrs=attrs)
    with pytest.warns(SlamsWarning, match=r"'t'.*not applied.* correct"):
        np.testing.assert_array_equal(with_valid_values(da), da)


@pytest.mark.parametrize("attrs", [{}, {"valid_range": [np.nan, np.nan]}, {"_FillValue": np.nan}, {"valid_min": None}])
def test_nothing_to_apply(attrs: dict[str, Any]) -> None:
    da = xr.DataArray([250.0, 280.0], dims="x", attrs=attrs)
    np.testing.assert_array_equal(with_valid_values(da), da)
    assert limits_in_words(with_valid_values(da)) == ""


def test_unsigned_bytes_flags_and_coordinates() -> None:
    raw = xr.DataArray(
        np.array([1, -2, -1], "i1"), dims="x",
        attrs={"_Unsigned": "true", "_FillValue": 255, "valid_range": np.array([2, -2], "i1"), "scale_factor": 0.5},
    )  # fmt: skip
    np.testing.assert_array_equal(with_valid_values(raw), [np.nan, 127.0, np.nan])
    ds = xr.Dataset(
        {"flag": ("x", np.array([0, 9], "i1"), {"flag_values": [0, 1], "valid_max": 1}), "text": ("x", ["a", "b"])},
        {"x": ("x", [0, 500], {"valid_max": 360})},
    )
    assert with_valid_values(ds).identical(ds)


def test_most_values_invalid_is_announced() -> None:
    lost = xr.DataArray([280.0, 281.0, 282.0], dims="x", name="t", attrs={"valid_range": np.array([-3000, 100], "i2")})
    with pytest.warns(SlamsWarning, match="3 of 3 values lie outside of its valid range, -3000 to 100.*scale_factor"):
        with_valid_values(lost)


def test_files_on_disk_are_read_in_parts(tmp_path: Path) -> None:
    ds = xr.Dataset({"t": (("x", "y"), np.arange(12.0).reshape(4, 3), {"valid_range": [2.0, 8.0]})})
    ds.to_netcdf(tmp_path / "t.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "t.nc", engine="h5netcdf") as file:
        valid = with_valid_values(file)["t"]
        assert not valid.variable._in_memory
        expected = ds.t.where((ds.t >= 2) & (ds.t <= 8))
        np.testing.assert_array_equal(valid.isel(x=[0, 2], y=slice(1, None)), expected.isel(x=[0, 2], y=slice(1, None)))
        np.testing.assert_array_equal(valid.isel(x=1), expected.isel(x=1))
        np.testing.assert_array_equal(valid, expected)


# --- everywhere ------------------------------------------------------------------------------------------------------


def wild(times: int = 3) -> tuple[xr.Dataset, xr.Dataset]:
    """A state with invalid surface pressures and rain, and what it means."""
    ds = state(times)
    ds["pr"] = ds["pr"].clip(min=0)
    clean = ds.copy(deep=True)
    ds["ps"][1, 2, 3], clean["ps"][1, 2, 3] = 5000.0, np.nan
    ds["pr"][0, 1, 2], clean["pr"][0, 1, 2] = -3.0, np.nan
    ds["ps"].attrs["valid_range"] = [500, 1100]
    ds["pr"].attrs["valid_min"] = "0"
    return ds, clean


@pytest.mark.parametrize("lazy", [False, True])
def test_observations_and_backgrounds(lazy: bool) -> None:
    ds, clean = wild()
    ds = ds.chunk(time=1) if lazy else ds
    for name in ("ps", "pr"):
        got, expected = (Observation(d[name], error=1.0, method="nearest").to_arrays(SPEC, d.time) for d in (ds, clean))
        np.testing.assert_array_equal(got.values, expected.values)
        assert (got.matrix != expected.matrix).nnz == 0


def test_a_message_says_that_the_range_left_nothing() -> None:
    data = state()["ps"].assign_attrs(units="hPa", valid_max=10.0)
    with (
        pytest.warns(SlamsWarning, match="lie outside"),
        pytest.raises(CoverageError, match="Values outside of valid_max 10 count"),
    ):
        Observation(data, error=1.0, method="nearest").to_arrays(SPEC, data.time)


@pytest.mark.filterwarnings("ignore:The training data cover")
def test_training_truth_and_regridding() -> None:
    ds, clean = wild(8)
    ds = ds.drop_vars("t")
    for chunked in (ds, ds.chunk(time=2)):
        with pytest.raises(CoverageError, match=r"1 of 192 values of 'ps'.*Values outside of valid_range 500 to 1100"):
            chunked.slams.fit("pr", window=3, epochs=0, progress=False)
    # What is invalid of an auxiliary variable is a gap, as what is missing.
    state = ds[["ps"]].clip(500, 1100)
    models = [state.slams.fit(aux[["pr"]], window=3, budget=0, progress=False) for aux in (ds, clean)]
    means = [model.prior().normalization.mean for model in models]
    np.testing.assert_array_equal(means[0], means[1])
    forecast = clean.fillna(0.0)[["ps"]]
    assert forecast.slams.score(ds[["ps"]]).identical(forecast.slams.score(clean[["ps"]]))
    target = xr.Dataset(coords={"lat": [-20.0, 20.0], "lon": [60.0, 180.0]})
    np.testing.assert_array_equal(regrid(ds, target).ps, regrid(clean, target).ps)
    raw = clean["pr"].fillna(-9999.0).assign_attrs(missing_value="-9999", units="mm day-1")
    np.testing.assert_array_equal(regrid(raw, target), regrid(clean, target).pr)


def test_simulated_observations_keep_their_noise() -> None:
    truth = state()["pr"].clip(min=0).assign_attrs(valid_min=0.0)
    seen = xslams.simulate_observations(truth, error=20.0)
    assert (seen.data < 0).any()
    spec = Spec((VariableSpec("pr", "mm day-1"),), SPEC.lat, SPEC.lon, periodic=True)
    assert seen.to_arrays(spec, truth.time).values.size == truth.size


@pytest.mark.parametrize("kind", ["chunks", "on disk"])
def test_lazy_values_that_are_mostly_invalid_are_announced_once_when_they_are_computed(tmp_path, kind):
    """Nothing is read early, no part is announced twice, and another reading is another occasion."""
    values = np.where(np.arange(24) % 8 == 0, 300.0, 27.0).astype("f4")
    raw = xr.DataArray(values, dims="x", name="t", attrs={"valid_min": 200.0})
    raw.to_dataset().to_netcdf(tmp_path / "a.nc")
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            given = raw.chunk(x=8) if kind == "chunks" else xr.open_dataset(tmp_path / "a.nc", cache=False)["t"]
            valid = with_valid_values(given)
            name = dask.base.tokenize(valid.data) if kind == "chunks" else ""
        with pytest.warns(SlamsWarning, match=r"'t': \d+ of \d+ values of a part.*range, at least 200, and") as said:
            for part in range(3):
                np.testing.assert_array_equal(valid[8 * part : 8 * part + 8].values, [300.0] + [np.nan] * 7)
        assert len(said) == 1 and valid.dtype == "f4"
        assert kind != "chunks" or name == dask.base.tokenize(with_valid_values(given).data)
    few = with_valid_values(raw.where(raw == 300.0, 299.0).chunk(x=8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few.compute()
