"""An ensemble of states as background: its mean, its members, and what they say of the error of the mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import ObservationOptionError
from xslams.labels.coordinates import coordinate, listed
from xslams.likelihood import BackgroundCorrelation
from xslams.observations.audit import AuditedLikelihood
from xslams.observations.background_error import BackgroundError, stated_background
from xslams.observations.bound import BoundSource
from xslams.observations.bound_variable import BoundVariable, Window
from xslams.observations.vertical import column_correlation

__all__ = ["BoundBackground", "bound_background", "first_member", "member_dimension", "members_of", "spread_of"]

# Spread, in that of the largest values, below which members are the same but for rounding.
_SAME = 1e-6


def member_dimension(ds: xr.Dataset) -> str | None:
    """Name of the dimension of members: "member", or that of a coordinate of the standard name "realization".

    Examples
    --------
    >>> member_dimension(xr.Dataset({"t": (("member", "x"), np.zeros((2, 3)))}))
    'member'
    """
    for dim in ds.dims:
        named = dim in ds.coords and ds[dim].attrs.get("standard_name") == "realization"
        if dim == "member" or named:
            return str(dim)
    return None


def members_of(ds: xr.Dataset) -> tuple[xr.Dataset, list[xr.Dataset]]:
    """Return the mean of an ensemble and its members; a Dataset without members, and none.

    Parameters
    ----------
    ds
        State, maybe with a dimension of members.

    Raises
    ------
    ObservationOptionError
        If there is a single member, values are missing in some members and not in others, or members are the same.
    """
    dim = member_dimension(ds)
    if dim is None:
        return ds, []
    if ds.sizes[dim] < 2:
        msg = (
            f"The background has {ds.sizes[dim]} member along {dim!r}; expected two or more, whose differences tell "
            f"its error. Take it for a single state, ds.isel({dim}=0) with background_error=..., or give more members."
        )
        raise ObservationOptionError(msg)
    for name, da in ds.data_vars.items():
        if dim in da.dims and da.chunks is None and np.issubdtype(da.dtype, np.number):
            _require_distinct(str(name), np.moveaxis(da.values, da.get_axis_num(dim), 0).reshape(da.sizes[dim], -1))
    bare = ds.drop_vars([c for c in ds.coords if dim in ds[c].dims])
    mean = bare.map(lambda da: _reduced(da, [dim], _mean) if dim in da.dims else da, keep_attrs=True)
    return mean.assign_attrs(ds.attrs), [bare.isel({dim: i}) for i in range(ds.sizes[dim])]


def first_member(ds: xr.Dataset) -> xr.Dataset:
    """Return the first member of an ensemble, which is enough to find a model; a Dataset without members as it is.

    Parameters
    ----------
    ds
        State, maybe with a dimension of members.
    """
    dim = member_dimension(ds)
    return ds if dim is None or not ds.sizes[dim] else ds.isel({dim: 0}, drop=True)


def spread_of(ds: xr.Dataset) -> BackgroundError:
    """Error of the mean of an ensemble by its spread.

    The variance at a place is noisy with few members, and has the mean over places of the same variable, level and time
    with the weight that makes the error of this estimate the least.

    Parameters
    ----------
    ds
        State with a dimension of members.
    """
    dim = member_dimension(ds)
    assert dim is not None
    std = {}
    for name, da in ds.data_vars.items():
        if dim in da.dims:
            kept = {da[c].dims for c in (coordinate(da, "time"), coordinate(da, "level")) if c is not None}
            places = [str(d) for d in da.dims if d != dim and (d,) not in kept]
            std[name] = _reduced(da, [dim, *places], _spread, places)
            std[name].attrs = {k: v for k, v in da.attrs.items() if k == "units"}
    return BackgroundError(xr.Dataset(std), correlation="increments")


def _reduced(da: xr.DataArray, dims: list[str], function: Any, kept: Sequence[str] = ()) -> xr.DataArray:
    """Apply a function to some dimensions as a whole, so that chunks do not change the order of sums."""
    if da.chunks is not None:
        da = da.chunk(dict.fromkeys(dims, -1))
    return xr.DataArray(
        xr.apply_ufunc(function, da, input_core_dims=[dims], output_core_dims=[kept], kwargs={"axes": len(dims)},
                       dask="parallelized", output_dtypes=[np.float64], keep_attrs=True)
    )  # fmt: skip


def _mean(values: npt.NDArray[Any], axes: int) -> npt.NDArray[np.float64]:
    mean: npt.NDArray[np.float64] = values.mean(axis=-1, dtype=np.float64)
    return mean


def _spread(values: npt.NDArray[Any], axes: int) -> npt.NDArray[np.float64]:
    """Spread of members, which come first of the last axes; the mean that is the background has an error of its own."""
    first = -axes
    count = values.shape[first]
    variance = values.var(axis=first, ddof=1, dtype=np.float64) * (count + 1) / count
    seen, places = np.isfinite(variance), tuple(range(1 - axes, 0))
    known = np.maximum(seen.sum(places, keepdims=True), 1)
    mean = np.where(seen, variance, 0.0).sum(places, keepdims=True) / known
    weight = 2 / (count + 3)
    variance = weight * mean + (1 - weight) * np.where(seen, variance, mean)
    out: npt.NDArray[np.float64] = np.where(variance > 0, np.sqrt(variance), np.nan)
    return out


def _require_distinct(name: str, values: npt.NDArray[Any]) -> None:
    """Raise unless members ``(member, n)`` have the same missing values, and no two of them are the same."""
    missing = np.isnan(values)
    counts = missing.sum(1)
    if (missing != missing[0]).any():
        worst = int(counts.argmax())
        msg = (
            f"{name!r} of the background: {int(counts[worst])} of {values.shape[1]} values are missing in member "
            f"{worst} (counted from 0) and not in all. Fill them, leave such members out, or make them missing in all."
        )
        raise ObservationOptionError(msg)
    kept = values[:, ~missing[0]].astype(np.float64)
    if not kept.size:
        return
    close = _SAME * max(float(np.abs(kept - kept[0]).max()), 1e-300)
    for i in range(len(kept)):
        same = [j for j in range(i) if np.abs(kept[i] - kept[j]).max() <= close]
        if same:
            msg = (
                f"{name!r} of the background is the same in members {same[0]} and {i} (counted from 0), which would "
                f"make it surer than it is. Leave repeated members out: ds.isel(member={[same[0]]!r}) is one of them."
            )
            raise ObservationOptionError(msg)


@dataclass(frozen=True)
class BoundBackground:
    """The background bound to a model: a source, how its errors are correlated, and its members if it has any.

    Attributes
    ----------
    mean
        The background as one more source.
    correlation
        How errors are correlated; None where they are not.
    members
        Members of an ensemble, each bound as the mean is.
    """

    mean: BoundSource
    correlation: BackgroundCorrelation | None
    members: tuple[BoundSource, ...] = ()

    @property
    def variables(self) -> tuple[BoundVariable, ...]:
        """Variables of the mean."""
        return self.mean.variables

    @property
    def _all(self) -> tuple[BoundSource, ...]:
        return (self.mean, *self.members)

    def _with(self, sources: Sequence[BoundSource]) -> BoundBackground:
        return replace(self, mean=sources[0], members=tuple(sources[1:]))

    def within(self, window: Window) -> BoundBackground:
        """Return what a window of the time axis sees."""
        return self._with([source.within(window) for source in self._all])

    def without_lazy(self) -> tuple[BoundBackground, list[Any]]:
        """Return the background without what is lazy in it, and that; see `BoundSource.without_lazy`."""
        each = [source.without_lazy() for source in self._all]
        return self._with([bare for bare, _ in each]), [lazy for _, lazy in each]

    def with_computed(self, parts: Sequence[Any]) -> BoundBackground:
        """Return the background with what `without_lazy` took out of it."""
        return self._with([source.with_computed(p) for source, p in zip(self._all, parts, strict=True)])

    def audited(self, *, strict: bool = False) -> list[AuditedLikelihood]:
        """Likelihood of each variable; see `BoundSource.audited`.

        Raises
        ------
        ObservationOptionError
            If values are missing in some members, or members are the same.
        """
        parts = self.mean.audited(strict=strict)
        if self.correlation is None:
            return parts
        each = [member.audited() for member in self.members]
        deviations = [_deviations(part, [own[k] for own in each]) for k, part in enumerate(parts)]
        return [
            part._replace(likelihood=replace(part.likelihood, background=self.correlation, ensemble=d))
            for part, d in zip(parts, deviations, strict=True)
        ]


def bound_background(mean: BoundSource, members: Sequence[BoundSource], error: object) -> BoundBackground:
    """Return the background with what is stated of its error.

    Parameters
    ----------
    mean, members
        The background, and the members of an ensemble.
    error
        As the user gave it.

    Raises
    ------
    ObservationOptionError
        If the errors of an ensemble are said to be independent.
    """
    correlation = stated_background(error)[1]
    if members and correlation is None:
        msg = (
            f"correlation='none' with a background of {len(members)} members, which have correlated errors. "
            "Leave it out, or take their mean: ds.mean('member')."
        )
        raise ObservationOptionError(msg)
    if correlation is not None and correlation.vertical is not None:
        correlation = replace(correlation, column=column_correlation(mean.spec, correlation.vertical))
    return BoundBackground(mean, correlation, tuple(members))


def _deviations(mean: AuditedLikelihood, members: Sequence[AuditedLikelihood]) -> npt.NDArray[np.float64] | None:
    """Values of members less those of the mean, ``(member, n)``."""
    if not members:
        return None
    sizes = [m.likelihood.size for m in members]
    if sizes != [mean.likelihood.size] * len(members):
        msg = (
            f"{mean.likelihood.name}: members have {listed(sorted(set(sizes)))} values that are present and possible; "
            f"expected {mean.likelihood.size} in all. Fill missing values, or make them missing in all members."
        )
        raise ObservationOptionError(msg)
    values = np.stack([m.likelihood.values for m in members])
    if values.size:
        _require_distinct(mean.likelihood.name, values)
    deviations: npt.NDArray[np.float64] = values - values.mean(0)
    return deviations
