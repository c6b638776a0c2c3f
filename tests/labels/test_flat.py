"""Datasets of systems that are not on the globe: recognised, and described for a model."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams.errors import DimensionError, UnitError, VariableError
from xslams.labels.domain import FlatDomain
from xslams.labels.flat import describe_flat, lies_flat, trajectories
from xslams.systems import KolmogorovFlow, Lorenz63, Lorenz96, ShallowWater


def fields(axes: tuple[str, ...], runs: int | None, frames: int, modulo: bool, names: tuple[str, ...]) -> xr.Dataset:
    """Fields of noise on axes of 4, 5 and 6 points, whatever they are called."""
    sizes = {"trajectory": runs, "time": frames} if runs else {"time": frames}
    sizes |= {axis: 4 + n for n, axis in enumerate(axes)}
    values = np.random.default_rng(0).standard_normal(tuple(sizes.values()))
    ds = xr.Dataset({n: (tuple(sizes), values, {"units": "1"}) for n in names})
    ds = ds.assign_coords(time=0.3 * np.arange(frames), **{a: np.arange(sizes[a]) * 0.5 for a in axes})
    for axis in axes if modulo else ():
        ds[axis].attrs["modulo"] = 0.5 * sizes[axis]
    return ds


@settings(max_examples=8, deadline=None)
@given(
    axes=st.sampled_from([(), ("x",), ("s",), ("y", "x"), ("row", "column")]),
    runs=st.sampled_from([None, 1, 3]),
    frames=st.integers(2, 5),
    modulo=st.booleans(),
    names=st.sampled_from([("a",), ("u", "v")]),
)
def test_any_field_with_numbers_as_times_is_described(axes, runs, frames, modulo, names) -> None:
    ds = fields(axes, runs, frames, modulo, names)
    assert lies_flat(ds)
    spec = describe_flat(ds)
    assert spec.dims == axes
    assert spec.periodic == (modulo and bool(axes))
    assert spec.time_step == pytest.approx(0.3)
    assert spec.frame_shape == (len(names), *(1, 1, *(ds.sizes[a] for a in axes))[-2:])
    parts = trajectories(ds)
    assert len(parts) == (runs or 1)
    for n, part in enumerate(parts):
        channels = FlatDomain(spec).to_channels(part)
        own = ds["u" if "u" in names else "a"]
        wanted = own.isel(trajectory=n) if runs else own
        np.testing.assert_allclose(channels.isel(channel=0).values.squeeze(), wanted.values.squeeze())


def test_systems_are_flat_and_the_globe_is_not() -> None:
    flow = KolmogorovFlow(size=16, coarsen=2).simulate(2, spinup=0)
    assert lies_flat(flow)
    assert describe_flat(flow[["u", "v"]]).periodic
    assert not describe_flat(flow[["u"]].isel(x=slice(6))).periodic
    assert describe_flat(Lorenz96(sites=12).simulate(2)).periodic
    assert describe_flat(Lorenz63().simulate(2)).frame_shape == (3, 1, 1)
    assert not lies_flat(ShallowWater(truncation=12).simulate(1))
    raw = xr.Dataset({"a": ("time", [1.0, 2.0])}, {"time": ("time", [0, 1], {"units": "days since 2000-01-01"})})
    assert not lies_flat(raw)
    assert not lies_flat(raw.drop_vars("time"))


def test_fields_that_no_model_has_are_refused() -> None:
    ds = fields(("y", "x"), None, 4, False, ("u", "v"))
    with pytest.raises(VariableError, match="there is no 'w'"):
        describe_flat(ds, ["w"])
    with pytest.raises(VariableError, match="none is left"):
        describe_flat(ds, ["u", "v"])
    with pytest.raises(DimensionError, match=r"'v' has the axes .*drop_vars"):
        describe_flat(ds.assign(v=ds["v"].isel(x=0)))
    with pytest.raises(DimensionError, match=r"numbers as coordinates. Assign it"):
        describe_flat(ds.drop_vars("x"))
    with pytest.raises(DimensionError, match="at most two axes"):
        describe_flat(fields(("z", "y", "x"), None, 4, False, ("u",)))
    with pytest.raises(DimensionError, match="at least two that ascend"):
        describe_flat(ds.isel(time=[0]))
    del ds["u"].attrs["units"]
    with pytest.raises(UnitError, match="'u' has no units"):
        describe_flat(ds)
