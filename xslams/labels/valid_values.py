"""Which values of a variable are valid: what ``_FillValue``, ``missing_value`` and ``valid_*`` say, applied on reading.

Every place where data of a user are read comes here, so that a value that a file calls missing or invalid is missing
everywhere. Attributes are taken as files have them: as text, as arrays of one element, of another type than the data,
in the wrong order. One that cannot be used is announced and has no effect.

Limits (``valid_min``, ``valid_max``, ``valid_range``) of packed data are those of the packed values if they are
integers, and those of the unpacked values if they are floats and the data were packed into integers, as the NetCDF
User's Guide has it. Data that are returned carry limits in the units of their own values.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.core.indexing import ExplicitIndexer, IndexingSupport, LazilyIndexedArray, explicit_indexing_adapter

from xslams.errors import Occasion, warn

__all__ = ["PACKING", "decoded", "limits_in_words", "with_valid_values", "without_limits"]

#: Attributes of packed or masked values that were not decoded.
PACKING = ("scale_factor", "add_offset", "_FillValue", "missing_value")
_LIMITS = ("valid_range", "valid_min", "valid_max")
_FLAGS = ("flag_meanings", "flag_values", "flag_masks")
# How many numbers each attribute holds; any number of values may be missing ones.
_COUNT = {"valid_range": 2, "valid_min": 1, "valid_max": 1, "scale_factor": 1, "add_offset": 1, "_FillValue": 1}

_Data = TypeVar("_Data", xr.Dataset, xr.DataArray)
_Numbers = npt.NDArray[Any]


class _Limits(NamedTuple):
    """Smallest and largest valid value, infinite where there is no limit, in the units of the values.

    Attributes
    ----------
    low, high
        The limits.
    below, above
        How far rounding may take a valid value out of them.
    """

    low: float
    high: float
    below: float
    above: float

    def admit(self, values: Any) -> Any:
        """Say which values are valid; of an array of any kind one of the same kind."""
        return (values >= self.low - self.below) & (values <= self.high + self.above)

    def __str__(self) -> str:
        if np.isinf(self.low):
            return f"at most {self.high:g}"
        return f"at least {self.low:g}" if np.isinf(self.high) else f"{self.low:g} to {self.high:g}"

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes that say the same."""
        # In the types that they were given in, which tell how they are rounded.
        if np.isfinite([self.low, self.high]).all() and np.asarray(self.low).dtype == np.asarray(self.high).dtype:
            return {"valid_range": np.array([self.low, self.high])}
        ends = {"valid_min": self.low, "valid_max": self.high}
        return {name: end for name, end in ends.items() if np.isfinite(end)}


def with_valid_values(data: _Data) -> _Data:
    """Decode what is packed, and make missing what the attributes of a variable call missing or invalid.

    Parameters
    ----------
    data
        Dataset or DataArray. Coordinates are left as they are.

    Returns
    -------
    Dataset or DataArray
        The same data where all values are valid; lazy where they are.

    Warns
    -----
    SlamsWarning
        If an attribute cannot be used, or more than half of the values of a variable are invalid. Lazy data are not
        read for that: the first part that is computed and has lost more than half of its values is announced then.

    Examples
    --------
    >>> t = xr.DataArray([180.0, 280.0, -9999.0], attrs={"valid_min": 200.0, "missing_value": "-9999"})
    >>> with_valid_values(t).values
    array([ nan, 280.,  nan])
    """
    if isinstance(data, xr.DataArray):
        # Under a name that no coordinate has, as a DataArray may be called like one of its own.
        inner = "__values__"
        whole = data.to_dataset(name=inner)
        valid = _valid(whole, {inner: str(data.name)})
        return data if valid is whole else valid[inner].rename(data.name)
    return _valid(data, {})


def _valid(ds: xr.Dataset, names: Mapping[str, str]) -> xr.Dataset:
    return _within(_unpacked(ds, names), names)


def decoded(ds: xr.Dataset) -> xr.Dataset:
    """Decode all variables and coordinates of a Dataset, as `xarray.decode_cf` does, whatever types attributes have.

    Parameters
    ----------
    ds
        Dataset that was not decoded, at least in part.

    Returns
    -------
    Dataset
        Decoded, but for time differences; limits are not applied.
    """
    clean = ds.copy(deep=False)
    for name, variable in clean.variables.items():
        variable.attrs = _clean(variable, str(name))
    with warnings.catch_warnings():
        # That several values mean "missing" is what the attributes say.
        warnings.filterwarnings("ignore", message=".*multiple fill values")
        return xr.decode_cf(clean, decode_timedelta=False)


def _unpacked(ds: xr.Dataset, names: Mapping[str, str]) -> xr.Dataset:
    """Decode data variables that are packed, or whose missing values are numbers."""
    found = {}
    for name, da in ds.data_vars.items():
        if _is_number(da) and any(a in da.attrs for a in PACKING):
            variable = da.variable.copy(deep=False)
            variable.attrs = _clean(variable, names.get(str(name), str(name)))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*multiple fill values")
                found[name] = xr.conventions.decode_cf_variable(name, variable, decode_times=False)
        elif _is_number(da) and (missed := _missed(da)):
            found[name] = da.where(~_any_of(da, missed)).variable
            found[name].encoding = da.encoding
    return ds.assign(found) if found else ds


def _clean(variable: xr.Variable, name: str) -> dict[Any, Any]:
    """Attributes of a variable with numbers of its type for missing values, and plain numbers for the packing."""
    attrs = dict(variable.attrs)
    if variable.dtype.kind not in "fiu":
        return attrs
    for attribute in PACKING:
        given = attrs.pop(attribute, None)
        numbers = None if given is None else _numbers(given, attribute, name)
        if attribute in ("_FillValue", "missing_value") and numbers is not None:
            numbers = _as_stored(numbers, variable, attrs)
        if numbers is not None and numbers.size:
            # An array of one element would broadcast data without dimensions.
            attrs[attribute] = numbers[0] if numbers.size == 1 else numbers
    return attrs


def _as_stored(numbers: _Numbers, variable: xr.Variable, attrs: Mapping[Any, Any]) -> _Numbers:
    """Missing values in the type of the data; those that it cannot hold occur nowhere."""
    if variable.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return numbers.astype(variable.dtype)
    whole = numbers[np.isfinite(numbers)]
    whole = whole[whole == np.rint(whole)]
    info = np.iinfo(variable.dtype)
    if str(attrs.get("_Unsigned", "")).lower() == "true":
        # Of bytes that stand for unsigned ones, the missing value may be given as either.
        whole = np.where(whole > info.max, whole - 2 ** (8 * variable.dtype.itemsize), whole)
    stored: _Numbers = whole[(whole >= info.min) & (whole <= info.max)].astype(variable.dtype)
    return stored


def _missed(da: xr.DataArray) -> list[float]:
    """Missing values that decoding has overlooked, since they are text, or the data hold them rounded.

    A double such as 1e20 equals no number in single precision.
    """
    if da.dtype.kind != "f" or any(a in da.encoding for a in ("scale_factor", "add_offset")):
        return []
    found = []
    for attribute in ("_FillValue", "missing_value"):
        given = da.encoding.get(attribute)
        text = isinstance(given, str | bytes)
        for number in _parsed(given):
            with np.errstate(over="ignore"):
                if text or float(da.dtype.type(number)) != float(number):
                    found.append(float(da.dtype.type(number)))
    return [v for v in found if not np.isnan(v)]


def _any_of(da: xr.DataArray, numbers: list[float]) -> xr.DataArray:
    matches = da == numbers[0]
    for number in numbers[1:]:
        matches = matches | (da == number)
    return matches


# --- limits ----------------------------------------------------------------------------------------------------------


def _within(ds: xr.Dataset, names: Mapping[str, str]) -> xr.Dataset:
    found = {}
    for name, da in ds.data_vars.items():
        # Flags are codes, of which the rules of flags say what they mean.
        if not _is_number(da) or any(a in da.attrs for a in _FLAGS) or not any(a in da.attrs for a in _LIMITS):
            continue
        said = names.get(str(name), str(name))
        limits = _limits(da, said)
        kept = without_limits(da).variable
        if limits is not None:
            kept = _masked(da, limits, said)
            kept.attrs = {k: v for k, v in da.attrs.items() if k not in _LIMITS} | limits.attrs
            # Limits are now those of the values, and no packing must be applied to them once more.
            kept.encoding = {}
        found[name] = kept
    return ds.assign(found) if found else ds


def without_limits(da: xr.DataArray) -> xr.DataArray:
    """Return a DataArray without the attributes of limits."""
    da = da.copy(deep=False)
    da.attrs = {k: v for k, v in da.attrs.items() if k not in _LIMITS}
    return da


def limits_in_words(da: xr.DataArray) -> str:
    """Say which values of data from `with_valid_values` count as missing, after a space; nothing without limits.

    Examples
    --------
    >>> limits_in_words(with_valid_values(xr.DataArray([280.0], attrs={"valid_range": [330, 200]})))
    ' Values outside of valid_range 200 to 330 count as missing.'
    """
    said = [f"{a} {' to '.join(f'{v:g}' for v in np.atleast_1d(da.attrs[a]))}" for a in _LIMITS if a in da.attrs]
    return f" Values outside of {' and '.join(said)} count as missing." if said else ""


def _limits(da: xr.DataArray, name: str) -> _Limits | None:
    """Limits in the units of the values, up to rounding; None where there are none."""
    scale, offset = (_packing(da, a, d) for a, d in (("scale_factor", 1.0), ("add_offset", 0.0)))
    stored = np.dtype(da.encoding.get("dtype") or da.dtype)
    stored = stored if stored.kind in "fiu" else da.dtype
    packed = any(a in da.encoding for a in ("scale_factor", "add_offset"))
    limits = _Limits(-np.inf, np.inf, 0.0, 0.0)
    for attribute in _LIMITS:
        given = da.attrs.get(attribute)
        numbers = None if given is None else _numbers(given, attribute, name)
        if numbers is None:
            continue
        numbers = _unsigned(numbers, stored, da)
        of_packed = packed and (numbers.dtype.kind in "iu" or stored.kind == "f")
        relative = _precision(da, numbers)
        if of_packed:
            numbers = numbers * scale + offset
        slack = relative * np.abs(numbers.astype(float)) + (
            0.5 * abs(scale) if of_packed and stored.kind != "f" else 0.0
        )
        ends = {"valid_min": [0], "valid_max": [1], "valid_range": [0, 1]}[attribute]
        pair, room = [-np.inf, np.inf], [0.0, 0.0]
        # Packing with a negative scale turns the order round, and some ranges are given in the wrong order.
        turned = (of_packed and scale < 0) if len(ends) == 1 else bool(numbers[0] > numbers[-1])
        ends = [1 - end for end in ends] if turned else ends
        for end, number, width in zip(ends, numbers, slack, strict=True):
            pair[end], room[end] = number, float(width)
        # NaN is no limit.
        if pair[0] > limits.low:
            limits = limits._replace(low=pair[0], below=room[0])
        if pair[1] < limits.high:
            limits = limits._replace(high=pair[1], above=room[1])
    if limits.low > limits.high:
        warn(
            f"{name!r}: its attributes allow values of at least {limits.low:g} and at most {limits.high:g}, which are "
            "none. They are not applied; correct valid_range, valid_min and valid_max."
        )
        return None
    return limits if limits.attrs else None


def _precision(da: xr.DataArray, numbers: _Numbers) -> float:
    """Relative rounding of the coarser of two types of floats."""
    return 2.0 * max(float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0 for dtype in (da.dtype, numbers.dtype))


def _masked(da: xr.DataArray, limits: _Limits, name: str) -> xr.Variable:
    """Values within limits."""
    occasion = Occasion()
    # An empty part tells the type in which values may be missing.
    dtype = da.isel(dict.fromkeys(da.dims, slice(0))).where(False).dtype
    if da.chunks is not None:
        masked = da.data.map_blocks(
            _part_within, limits=limits, called=name, occasion=occasion, kind=dtype, dtype=dtype,
            meta=da.data._meta.astype(dtype),
        )  # fmt: skip
        return xr.Variable(da.dims, masked)
    if not getattr(da.variable, "_in_memory", True):
        return xr.Variable(da.dims, LazilyIndexedArray(_OnDisk(da, limits, name, occasion, dtype)))
    known, valid = da.notnull(), limits.admit(da)
    removed, count = int((known & ~valid).sum()), int(known.sum())
    if removed > 0.5 * count:
        warn(_mostly_invalid(name, removed, count, limits))
    return da.where(valid).variable if removed else da.variable.copy(deep=False)


def _mostly_invalid(name: str, removed: int, count: int, limits: _Limits, which: str = "values") -> str:
    return (
        f"{name!r}: {removed} of {count} {which} lie outside of its valid range, {limits}, and count as missing. "
        "Where these are limits in other units, or of packed values whose scale_factor got lost, correct or "
        "remove the attributes valid_range, valid_min and valid_max."
    )


def _part_within(values: Any, limits: _Limits, called: str, occasion: Occasion, kind: np.dtype[Any]) -> Any:
    """Values of a part of lazy data within limits; the first part that is mostly invalid is announced."""
    valid = limits.admit(values)
    known = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    removed, count = int((known & ~valid).sum()), int(known.sum())
    if removed > 0.5 * count:
        which = "values of a part of it, the first of this kind that was computed,"
        occasion.warn(called, _mostly_invalid(called, removed, count, limits, which))
    return np.where(valid, values.astype(kind), kind.type(np.nan))


class _OnDisk(BackendArray):
    """Values within limits of a variable that is read when it is needed, and only the part that is."""

    def __init__(self, da: xr.DataArray, limits: _Limits, name: str, occasion: Occasion, dtype: np.dtype[Any]) -> None:
        self.variable, self.limits, self.name, self.occasion = da.variable, limits, name, occasion
        self.shape, self.dtype = da.shape, dtype

    def __getitem__(self, key: ExplicitIndexer) -> Any:
        return explicit_indexing_adapter(key, self.shape, IndexingSupport.OUTER, self._part)

    def _part(self, key: tuple[Any, ...]) -> npt.NDArray[Any]:
        values = np.asarray(self.variable[key].values)
        return np.asarray(_part_within(values, self.limits, self.name, self.occasion, self.dtype))


def _packing(da: xr.DataArray, attribute: str, default: float) -> float:
    numbers = _parsed(da.encoding.get(attribute))
    return float(numbers[0]) if numbers.size else default


def _unsigned(numbers: _Numbers, stored: np.dtype[Any], da: xr.DataArray) -> _Numbers:
    """Limits of bytes that stand for unsigned ones: -2 is 254."""
    if str(da.encoding.get("_Unsigned", "")).lower() != "true" or numbers.dtype.kind != "i":
        return numbers
    return np.where(numbers < 0, numbers.astype(np.int64) + 2 ** (8 * stored.itemsize), numbers)


# --- numbers ---------------------------------------------------------------------------------------------------------


def _is_number(da: xr.DataArray) -> bool:
    return da.dtype.kind in "fiu"


def _numbers(given: Any, attribute: str, name: str) -> _Numbers | None:
    """Numbers of an attribute, shape (n,); None, with a warning, where it does not hold what it should."""
    numbers = _parsed(given)
    expected = _COUNT.get(attribute)
    if numbers.size and (expected is None or numbers.size == expected) and not np.isnan(numbers).all():
        return numbers
    if numbers.size and np.isnan(numbers).all() and attribute not in ("scale_factor", "add_offset"):
        # NaN is missing anyway, and no limit.
        return None
    what = "numbers" if expected is None else "a number" if expected == 1 else f"{expected} numbers"
    warn(f"{name!r}: attribute {attribute} is {given!r}; expected {what}. It is not applied; correct or remove it.")
    return None


def _parsed(given: Any) -> _Numbers:
    """Numbers in an attribute, also in text, shape (n,); none where it holds something else."""
    none = np.empty(0)
    if given is None:
        return none
    if isinstance(given, bytes):
        given = given.decode("utf-8", "replace")
    if isinstance(given, str):
        given = [part for part in re.split(r"[\s,;]+", given.strip("[]() \t\n")) if part]
    try:
        numbers = np.atleast_1d(np.asarray(given))
        if numbers.dtype.kind in "SUO":
            texts = [v.decode() if isinstance(v, bytes) else str(v) for v in numbers.ravel()]
            # Text of a C number may end with its type: 1e20f, -9999s.
            bare = [re.sub(r"(?<=[\d.])(?:f|s|b|l|ll|d|u|us|ub)$", "", t.strip(), flags=re.IGNORECASE) for t in texts]
            whole = all(re.fullmatch(r"[+-]?\d+", t) for t in bare)
            numbers = np.array([int(t) if whole else float(t) for t in bare])
    except (ValueError, TypeError, OverflowError):
        return none
    return numbers.ravel() if numbers.dtype.kind in "fiu" else none
