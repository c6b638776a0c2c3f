"""What data say of their own quality, as in CF: standard errors and flags among their ancillary variables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import ObservationError
from xslams.labels.coordinates import listed

__all__ = ["Flag", "Rule", "accepted", "ancillary", "flags_of", "passes"]

Rule = tuple[int | None, int, bool]
"""Mask, value and verdict: it applies where ``flag & mask == value``, without a mask where ``flag == value``."""

_BAD = frozenset(
    "bad suspect fail failed error errors erroneous missing invalid spike poor reject rejected doubtful questionable "
    "incorrect wrong outlier unreliable".split()
)
_GOOD = frozenset("good valid ok pass passed correct nominal acceptable accepted reliable best".split())


@dataclass(frozen=True)
class Flag:
    """A quality flag of some data, and which of its values are accepted.

    Attributes
    ----------
    name
        Name of the variable.
    values
        With the dimensions of the data, in their order; lazy where the flag is.
    rules
        Rules by which values are accepted.
    bits
        Whether the flag consists of independent bits.
    """

    name: str
    values: xr.DataArray
    rules: Sequence[Rule]
    bits: bool

    def passes(self) -> npt.NDArray[np.bool_]:
        """Whether the data are accepted, with their shape."""
        return passes(np.asarray(self.values.values), self.rules, bits=self.bits)


def flags_of(
    da: xr.DataArray,
    flags: Sequence[xr.DataArray],
    chosen: Literal[False] | str | int | Sequence[str | int] | None,
    source: str,
) -> list[Flag]:
    """Return the flags of some data with the rules by which they are read.

    Parameters
    ----------
    da
        Data.
    flags
        Variables with their flags.
    chosen
        Meanings or values to accept; None to go by the words in the meanings, False to use no flag.
    source
        Name of the source, for messages.

    Raises
    ------
    ObservationError
        If there is no flag for the meanings that were chosen, or a flag does not fit the data.
    """
    if chosen is False:
        return []
    if chosen is not None and not flags:
        msg = (
            f"Source {source!r}: flags={chosen!r}, but no flag belongs to {str(da.name)!r}. Name it: "
            f"ds[{str(da.name)!r}].attrs['ancillary_variables'] = 'name', and give the Dataset that holds both."
        )
        raise ObservationError(msg)
    found = []
    for flag in flags:
        rules, bits = accepted(flag, chosen, source)
        if extra := [d for d in flag.dims if d not in da.dims]:
            msg = (
                f"Source {source!r}: the flag {flag.name!r} varies along {listed(extra)}, the data do not. Select "
                "along it with .isel(), or ignore the flag: qc={'flags': False}."
            )
            raise ObservationError(msg)
        whole = flag.reset_coords(drop=True).broadcast_like(da.reset_coords(drop=True)).transpose(*da.dims)
        found.append(Flag(str(flag.name), whole, rules, bits))
    return found


def ancillary(ds: xr.Dataset, da: xr.DataArray) -> tuple[xr.DataArray | None, list[xr.DataArray]]:
    """Return the standard error and the flags that belong to a variable.

    Parameters
    ----------
    ds
        Dataset that holds them.
    da
        Variable whose ``ancillary_variables`` name them.

    Returns
    -------
    tuple
        The variable with the standard error, None where there is none, and those with flags.

    Examples
    --------
    >>> ds = xr.Dataset({"t": ("x", [1.0], {"ancillary_variables": "t_err"}),
    ...                  "t_err": ("x", [0.5], {"standard_name": "air_temperature standard_error", "units": "K"})})
    >>> ancillary(ds, ds["t"])[0].name
    't_err'
    """
    names = str(da.attrs.get("ancillary_variables", da.encoding.get("ancillary_variables", ""))).split()
    error, flags = None, []
    for name in names:
        if name not in ds.variables:
            continue
        standard = str(ds[name].attrs.get("standard_name", ""))
        if re.search(r"\bstandard_error$|_standard_error$", standard):
            error = ds[name]
        elif "flag_meanings" in ds[name].attrs or re.search(r"(quality|status)_flag$", standard):
            flags.append(ds[name])
    return error, flags


def accepted(
    flag: xr.DataArray, chosen: str | int | Sequence[str | int] | None, source: str
) -> tuple[list[Rule], bool]:
    """Rules by which values of a flag are accepted.

    Parameters
    ----------
    flag
        Variable with ``flag_meanings``, and ``flag_values``, ``flag_masks`` or both, as in CF.
    chosen
        Meanings or values to accept; None to go by the words in the meanings.
    source
        Name of the source, for messages.

    Returns
    -------
    tuple
        A rule ``(mask, value, good)`` for each meaning, and whether the flag consists of independent bits. It applies
        where ``flag & mask == value`` (without a mask, where ``flag == value``).

    Raises
    ------
    ObservationError
        If meanings are unclear or unknown, or the attributes contradict each other.

    Examples
    --------
    >>> flag = xr.DataArray([0, 1], name="qf", attrs={"flag_values": [0, 1], "flag_meanings": "good bad"})
    >>> accepted(flag, None, "x")
    ([(None, 0, True), (None, 1, False)], False)
    """
    meanings = str(flag.attrs.get("flag_meanings", "")).split()
    values = [int(v) for v in np.atleast_1d(_numbers(flag.attrs.get("flag_values", [])))]
    masks = [int(v) for v in np.atleast_1d(_numbers(flag.attrs.get("flag_masks", [])))]
    wanted = None if chosen is None else [chosen] if isinstance(chosen, str | int) else list(chosen)
    bits = bool(masks) and not values
    counts = {len(x) for x in (meanings, values, masks) if x}
    if not meanings or (not values and not masks) or len(counts) != 1:
        numeric = [v for v in wanted or [] if not isinstance(v, str)]
        if wanted is not None and numeric == wanted:
            return [(None, int(v), True) for v in numeric], False
        msg = (
            f"Source {source!r}: the flag {flag.name!r} has {len(meanings)} flag_meanings, {len(values)} flag_values "
            f"and {len(masks)} flag_masks, which do not explain it. Say which values are good: "
            "qc={'flags': [0, ...]}, or ignore it: qc={'flags': False}."
        )
        raise ObservationError(msg)
    if wanted is not None:
        unknown = [w for w in wanted if w not in meanings and not (not isinstance(w, str) and w in values)]
        if unknown:
            msg = (
                f"Source {source!r}: flags={wanted!r}; the flag {flag.name!r} means one of {listed(meanings)}"
                f"{f', with values {values}' if values else ''}. Choose among these."
            )
            raise ObservationError(msg)
        good = [m in wanted or (bool(values) and values[i] in wanted) for i, m in enumerate(meanings)]
    else:
        verdicts = [_verdict(m) for m in meanings]
        unclear = [m for m, v in zip(meanings, verdicts, strict=True) if v is None]
        if unclear and not bits:
            clear = [m for m, v in zip(meanings, verdicts, strict=True) if v] or unclear[:1]
            msg = (
                f"Source {source!r}: the flag {flag.name!r} means one of {listed(meanings)}, and {listed(unclear)} may "
                f"be good or bad. Say which to use: qc={{'flags': {clear!r}}}, or ignore the flag: "
                "qc={'flags': False}."
            )
            raise ObservationError(msg)
        # A bit that is set and says nothing good speaks against a value.
        good = [bool(v) for v in verdicts]
    pairs: list[tuple[int | None, int]]
    if bits:
        pairs = [(m, m) for m in masks]
    elif masks:
        pairs = list(zip(masks, values, strict=True))
    else:
        pairs = [(None, v) for v in values]
    return [(mask, value, ok) for (mask, value), ok in zip(pairs, good, strict=True)], bits


def passes(flag: npt.NDArray[Any], rules: Sequence[Rule], *, bits: bool) -> npt.NDArray[np.bool_]:
    """Whether values of a flag are accepted; those that are missing or mean nothing are not."""
    known: npt.NDArray[np.bool_] = np.isfinite(flag.astype(float))
    whole = np.where(known, flag, 0).astype(np.int64)
    good, bad = np.zeros(flag.shape, bool), np.zeros(flag.shape, bool)
    for mask, value, ok in rules:
        applies = (whole if mask is None else whole & mask) == value
        if ok:
            good |= applies
        else:
            bad |= applies
    # Bits tell what is wrong: none of them set is good. Fields of bits each have to be good.
    return known & ~bad if bits else known & ~bad & good


def _numbers(value: Any) -> npt.NDArray[Any]:
    # Attributes that were written as text come as "0b, 1b, 2b".
    return np.array([int(n) for n in re.findall(r"-?\d+", value)]) if isinstance(value, str) else np.asarray(value)


def _verdict(meaning: str) -> bool | None:
    """Whether a meaning sounds good (True) or bad (False); None where it says neither."""
    words = re.split(r"[_\W]+", meaning.lower())
    for i, word in enumerate(words):
        if word in _BAD or word in _GOOD:
            negated = i > 0 and words[i - 1] in ("not", "no", "non")
            return (word in _GOOD) != negated
    return None
