"""Levels of profiles as files have them.

Radiosondes measure pressure along with temperature, so that it comes as a variable of its own, with a value for each
element. Argo floats have two pressures, as measured and adjusted.
"""

from __future__ import annotations

import xarray as xr

from xslams.labels.coordinates import coordinate
from xslams.observations.adjusted import adjusted, is_adjusted
from xslams.observations.vertical import SEA_PRESSURE, medium
from xslams.spec import VariableSpec

__all__ = ["with_levels"]

# What a file calls heights of each kind where they are no coordinates.
_STANDARD_NAMES = {
    "pressure": ("air_pressure",),
    "sea pressure": SEA_PRESSURE,
    "depth": ("depth", *SEA_PRESSURE),
    None: ("altitude", "height", "geopotential_height"),
}


def with_levels(ds: xr.Dataset, name: str, observed: VariableSpec) -> xr.Dataset:
    """Give a variable the levels that go with it.

    Parameters
    ----------
    ds
        Dataset that holds it.
    name
        The variable.
    observed
        What it observes.

    Returns
    -------
    Dataset
        With adjusted levels for adjusted values, and where the variable has no levels of the kind that the model has,
        with the variable of that kind as a coordinate.

    Examples
    --------
    >>> pressure = ("x", [850.0], {"standard_name": "air_pressure", "units": "hPa"})
    >>> levels = VariableSpec("ta", "K", level_dim="p", levels=(850.0, 500.0), level_attrs={"units": "hPa"})
    >>> list(with_levels(xr.Dataset({"ta": ("x", [280.0]), "pressure": pressure}), "ta", levels).coords)
    ['pressure']
    """
    pairs = {n: a for n, a in adjusted(ds).items() if n in ds.coords and a in ds.coords}
    if pairs:
        whether = is_adjusted(name)
        ds = ds.drop_vars([n if whether else a for n, a in pairs.items()])
    if not observed.levels:
        return ds
    wanted = medium(observed.level_attrs, observed.level_dim)
    have = coordinate(ds[name], "level")
    if have is not None and (medium(ds[have].attrs, have) in (wanted, "sigma") or wanted == "sigma"):
        return ds
    alike = [
        str(n)
        for standard in _STANDARD_NAMES.get(wanted, ())
        for n, da in ds.data_vars.items()
        if da.attrs.get("standard_name") == standard and n != name and da.ndim and set(da.dims) <= set(ds[name].dims)
    ]
    return ds.set_coords(alike[0]) if alike else ds
