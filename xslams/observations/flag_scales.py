"""What quality flags mean: scales that files name and do not explain, and meanings that are known as a whole.

Flags of Argo floats are characters, of which the attribute ``conventions`` says no more than ``Argo reference table
2``. Scales of oceanography have meanings, as ``value_changed``, that sound neither good nor bad and have a fixed use.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.typing import FloatArray

__all__ = ["by_words", "codes", "explained", "is_size", "verdict"]

_OCEAN = (
    "no_quality_control good_value probably_good_value probably_bad_value bad_value changed_value not_used not_used "
    "estimated_value missing_value"
)
# Tables of the reference manuals, by what the attribute `conventions` says. Table 2a is about whole profiles.
_TABLES = ((re.compile(r"\b(?:argo|oceansites|coriolis|copernicus)\b.*\btable 2\s*$", re.IGNORECASE), _OCEAN),)
# Values that were not checked, and those that are estimates or only a limit, are no measurements with a known error.
_PHRASES = {
    **dict.fromkeys(["changed_value", "value_changed"], True),
    **dict.fromkeys(["no_quality_control", "no_qc_performed", "no_qc", "not_evaluated", "not_used"], False),
    **dict.fromkeys(["value_below_detection", "value_below_detection_limit", "value_in_excess"], False),
    **dict.fromkeys(["interpolated_value", "estimated_value", "nominal_value"], False),
    **dict.fromkeys(["value_phenomenon_uncertain", "no_data", "worst_quality", "low_quality"], False),
    **dict.fromkeys(["best_quality", "high_quality"], True),
}
_BAD = frozenset(
    "bad suspect fail fails failed failure error errors erroneous missing invalid spike poor reject rejected doubtful "
    "questionable incorrect wrong outlier unreliable".split()
)
_GOOD = frozenset("good valid ok pass passed correct nominal acceptable accepted reliable best successful".split())
_SIZE = re.compile(r"(?:less|smaller|lower|greater|larger|higher|more)_(?:than|or_equal|equal).*\d", re.IGNORECASE)


def explained(flag: xr.DataArray) -> xr.DataArray:
    """Flag with the ``flag_values`` and ``flag_meanings`` of the table that it names; as it is where it has its own.

    Parameters
    ----------
    flag
        Variable with quality flags, of any shape.

    Examples
    --------
    >>> flag = xr.DataArray([b"1", b"4"], attrs={"conventions": "Argo reference table 2"})
    >>> explained(flag).attrs["flag_meanings"].split()[1]
    'good_value'
    """
    if "flag_meanings" in flag.attrs:
        return flag
    table = " ".join(str(flag.attrs.get(name, "")) for name in ("conventions", "Conventions")).strip()
    for pattern, meanings in _TABLES:
        if pattern.search(table):
            return flag.assign_attrs(flag_values=np.arange(len(meanings.split())), flag_meanings=meanings)
    return flag


def codes(values: npt.NDArray[Any]) -> FloatArray:
    """Return flags as numbers: digits by their value, other characters by their code, NaN where there is none.

    Parameters
    ----------
    values
        Numbers, or characters as bytes or text, of any shape.

    Examples
    --------
    >>> codes(np.array([b"1", b"A", b" "]))
    array([ 1., 65., nan])
    """
    if values.dtype.kind not in "SUO":
        return np.asarray(values, float)
    texts, which = np.unique(values.astype("U"), return_inverse=True)
    return np.array([_code(t.strip()) for t in texts])[which].reshape(values.shape)


def _code(text: str) -> float:
    if re.fullmatch(r"-?\d+(?:\.0*)?", text):
        return float(text)
    return float(ord(text)) if len(text) == 1 else np.nan


def verdict(meaning: str) -> bool | None:
    """Whether a meaning sounds good (True) or bad (False); None where it says neither.

    Examples
    --------
    >>> verdict("probably_good_value"), verdict("not_evaluated"), verdict("ice")
    (True, False, None)
    """
    return _PHRASES.get(meaning.lower(), by_words(meaning))


def by_words(meaning: str) -> bool | None:
    """Whether a meaning has a word for good or bad, as `verdict`, of which scales make exceptions.

    Examples
    --------
    >>> by_words("bad_value"), by_words("estimated_value")
    (False, None)
    """
    words = re.split(r"[_\W]+", meaning.lower())
    for i, word in enumerate(words):
        if word in _BAD or word in _GOOD:
            negated = i > 0 and words[i - 1] in ("not", "no", "non")
            return (word in _GOOD) != negated
    return None


def is_size(meaning: str) -> bool:
    """Whether a meaning says how large a value is, which is no reason to leave it out: the others would be biased.

    Examples
    --------
    >>> is_size("small_wind_less_than_or_equal_to_3_m_s"), is_size("distance_to_gmf_too_large")
    (True, False)
    """
    return _SIZE.search(meaning) is not None
