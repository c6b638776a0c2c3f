"""How quality flags are read, as in CF: by the words of their meanings, or by those that a user accepts."""

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
from xslams.observations.belonging import ancillary, flags_of_coordinates
from xslams.observations.flag_scales import by_words, codes, is_size, verdict

__all__ = ["Flag", "Rule", "accepted", "doubts_of", "flags_of", "passes", "quality_flags"]

Rule = tuple[int | None, int, bool]
"""Mask, value and verdict: it applies where ``flag & mask == value``, without a mask where ``flag == value``."""


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
    unknown
        Whether data are accepted where the flag is missing.
    """

    name: str
    values: xr.DataArray
    rules: Sequence[Rule]
    bits: bool
    unknown: bool = False

    def passes(self) -> npt.NDArray[np.bool_]:
        """Whether the data are accepted, with their shape."""
        numbers = codes(np.asarray(self.values.values))
        good = passes(numbers, self.rules, bits=self.bits)
        return good | np.isnan(numbers) if self.unknown else good


def quality_flags(
    ds: xr.Dataset, da: xr.DataArray, chosen: Literal[False] | str | int | Sequence[str | int] | None, source: str
) -> list[Flag]:
    """Return the flags of the values of a variable, and those of their times, places and levels.

    Parameters
    ----------
    ds
        Dataset that holds them.
    da, chosen, source
        As for `flags_of`.

    Raises
    ------
    ObservationError
        As `flags_of`.
    """
    if chosen is False:
        return []
    return flags_of(da, ancillary(ds, da)[1], chosen, source) + doubts_of(da, flags_of_coordinates(ds, da))


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
    for flag, wanted in zip(flags, _wanted(flags, chosen), strict=True):
        rules, bits = accepted(flag, wanted, source)
        if extra := [d for d in flag.dims if d not in da.dims]:
            msg = (
                f"Source {source!r}: the flag {flag.name!r} varies along {listed(extra)}, the data do not. Select "
                "along it with .isel(), or ignore the flag: qc={'flags': False}."
            )
            raise ObservationError(msg)
        found.append(Flag(str(flag.name), _over(flag, da), rules, bits))
    return found


def doubts_of(da: xr.DataArray, flags: Sequence[xr.DataArray]) -> list[Flag]:
    """Return flags of coordinates, which speak against data only where a meaning has a word for bad.

    Files check times and places less often than values, and estimate what was not measured.

    Parameters
    ----------
    da
        Data.
    flags
        Variables with the flags of their coordinates; those whose meanings are not explained are left out.

    Examples
    --------
    >>> flag = xr.DataArray([0, 4], dims="x", attrs={"flag_values": [0, 4], "flag_meanings": "no_qc bad"})
    >>> doubts_of(xr.DataArray([1.0, 2.0], dims="x"), [flag])[0].passes()
    array([ True, False])
    """
    found = []
    for flag in flags:
        meanings, values, masks = _attributes(flag)
        if not meanings or len(values or masks) != len(meanings) or (masks and len(masks) != len(meanings)):
            continue
        pairs = _pairs(values, masks)
        rules = [(*p, False) for p, m in zip(pairs, meanings, strict=True) if by_words(m) is False]
        found.append(Flag(str(flag.name), _over(flag, da), rules, bits=True, unknown=True))
    return found


def _over(flag: xr.DataArray, da: xr.DataArray) -> xr.DataArray:
    """Flag with the dimensions of the data."""
    return flag.reset_coords(drop=True).broadcast_like(da.reset_coords(drop=True)).transpose(*da.dims)


def _wanted(
    flags: Sequence[xr.DataArray], chosen: str | int | Sequence[str | int] | None
) -> list[str | int | Sequence[str | int] | None]:
    """Return what is accepted of each flag: each of several has meanings of its own."""
    if chosen is None or len(flags) == 1:
        return [chosen] * len(flags)
    asked = [chosen] if isinstance(chosen, str | int) else list(chosen)
    known = [[w for w in asked if w in {*meanings, *values}] for meanings, values, _ in map(_attributes, flags)]
    if any(all(w not in k for k in known) for w in asked):
        return [chosen] * len(flags)
    return [k or None for k in known]


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
    meanings, values, masks = _attributes(flag)
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
        verdicts = [verdict(m) for m in meanings]
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
    rules = [(*pair, ok) for pair, ok in zip(_pairs(values, masks), good, strict=True)]
    # How large a value is, is no reason to leave it out.
    if wanted is None and bits:
        rules = [r for r, m in zip(rules, meanings, strict=True) if r[2] or not is_size(m)]
    return rules, bits


def _attributes(flag: xr.DataArray) -> tuple[list[str], list[int], list[int]]:
    """Meanings, values and masks of a flag."""
    # Some files separate meanings by commas.
    meanings = [m for m in re.split(r"[\s,]+", str(flag.attrs.get("flag_meanings", ""))) if m]
    values, masks = (np.atleast_1d(_numbers(flag.attrs.get(name, []))) for name in ("flag_values", "flag_masks"))
    return meanings, [int(v) for v in values if v == v], [int(v) for v in masks]


def _pairs(values: list[int], masks: list[int]) -> list[tuple[int | None, int]]:
    """Mask and value of each meaning."""
    if not values:
        return [(m, m) for m in masks]
    return [(masks[i] if masks else None, v) for i, v in enumerate(values)]


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
    # Attributes that were written as text come as "0b, 1b, 2b", and those of characters as bytes.
    return np.array([int(n) for n in re.findall(r"-?\d+", value)]) if isinstance(value, str) else codes(np.array(value))
