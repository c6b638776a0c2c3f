"""Read the text of units: powers of names and a number, as CF writes them and as files spell them.

The text comes from files of others. It is taken apart here and never handed on to a parser of expressions, so that it
can neither run nor compute for long: length, powers and numbers are limited.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

__all__ = ["UnitText"]

_LONGEST, _DEEPEST, _HIGHEST_POWER, _HIGHEST_EXPONENT = 100, 4, 12, 30

_CHARACTERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻\u2212\u2013·⋅\u00d7º˚μ", "0123456789---***°°µ", "${}\\")
# What a quantity is of does not change its unit.
_OF_WATER = re.compile(
    r"(?<=[a-z])[\s_]+(?:of[\s_]+)?(?:liquid[\s_]+|snow[\s_]+)*(?:water(?:[\s_]+equivalent)?|(?:l\.?)?w\.?e\.?(?=$|[\s/]))",
    re.IGNORECASE,
)
_DEGREES = re.compile(
    r"(?<![a-z])(?:deg(?:ree)?s?[\s_.]*|°\s*|o(?=[CF]\b))(C|K|F)(?:el[sc]ius|elvins?|ahrenheit|entigrade)?(?![a-z])",
    re.IGNORECASE,
)
# Spellings of whole texts. On its own, c is no speed of light and F no farad; ms-1 is the wind, not a frequency.
_WHOLE = {
    **dict.fromkeys(["", "-", "--", "~", "none", "unitless", "dimensionless", "fraction", "fractional"], "1"),
    **dict.fromkeys(["ratio", "proportion", "decimal", "number", "(0-1)", "(0 - 1)", "0-1", "0 - 1", "0 to 1"], "1"),
    **dict.fromkeys(["c", "C", "celsius", "celcius", "centigrade", "℃"], "degC"),
    **dict.fromkeys(["f", "F", "fahrenheit", "℉"], "degF"),
    **dict.fromkeys(["ms-1", "ms^-1", "ms**-1"], "m s-1"),
    **dict.fromkeys(["celsius degree", "celsius degrees", "degree centigrade"], "degC"),
    **dict.fromkeys(["p.s.u.", "practical salinity unit", "practical salinity units", "pss-78", "pss78"], "psu"),
}
# Names that neither UDUNITS nor pint knows, or that pint takes for something else: to it "mb" is a millibarn.
_NAMES = {
    **dict.fromkeys(["mb", "mbs", "mbar", "mbars"], "hPa"),
    **dict.fromkeys(["gpm", "gpmeter", "gpmeters"], "m"),
    **dict.fromkeys(["gpdm", "dagpm", "gpdam"], "dam"),
    **dict.fromkeys(["percent", "percentage", "pct", "%"], "%"),
    **dict.fromkeys(["dy", "dys"], "day"),
    **dict.fromkeys(["mon", "mons", "mth"], "month"),
    **dict.fromkeys(["hrs", "hr"], "hour"),
    **dict.fromkeys(["kelvin", "kelvins"], "K"),
    **dict.fromkeys(["celsius", "celcius"], "degC"),
}
# Names that are read in any case of letters: long ones always, short ones where the whole text is in capitals, since
# "Mg" is no milligram and "S" no second.
_ANY_CASE = {
    name.casefold(): name
    for name in (
        "K W J N Pa hPa kPa kg g mg m mm cm km s h day days hour hours minute minutes second seconds sec meter meters "
        "metre metres millimeter millimeters millimetre millimetres gram grams kilogram kilograms pascal pascals "
        "hectopascal hectopascals millibar millibars degC degF month months year years inch inches"
    ).split()
} | {"watt": "W", "watts": "W", "joule": "J", "joules": "J"}
_SHORT = {"w": "W", "j": "J", "k": "K", "pa": "Pa", "Kg": "kg", "KG": "kg", "M": "m", "Km": "km", "Cm": "cm"}
_EIGHTHS = ("okta", "oktas", "octa", "octas", "eighths")
# Symbols that files write without a blank between them: Wm-2, kgm-2s-1.
_GLUED = re.compile(r"(W|kg|J|g|N|K|mm|Pa)(m|s|kg|K|h|d|day)|([Ww])([Mm])")

_TOKEN = re.compile(
    r"(?P<number>(?:\d+(?:\.\d+|\.(?=[eE][+-]?\d))?|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d]+|[%°'\"])|(?P<sign>[+-])"
    r"|(?P<power>\*\*|\^)|(?P<times>\*|\.)|(?P<over>/)|(?P<open>\()|(?P<close>\))|(?P<blank>\s+)"
)


@dataclass
class UnitText:
    """A number times powers of names.

    Attributes
    ----------
    scale
        The number.
    powers
        Power of every name, in the order of the text; names are spelled as pint knows them, where it does.

    Examples
    --------
    >>> UnitText.read("Watts m-2").powers
    {'W': 1, 'm': -2}
    >>> UnitText.read("mm/3hr")
    UnitText(scale=0.3333333333333333, powers={'mm': 1, 'hour': -1})
    """

    scale: float = 1.0
    powers: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> UnitText:
        """Read the text of a unit.

        Raises
        ------
        ValueError
            If the text is not that of a unit, or its numbers are out of all proportion.
        """
        if len(text) > _LONGEST:
            msg = f"the text has {len(text)} characters, more than {_LONGEST}"
            raise ValueError(msg)
        # Units may be explained by others: decibar=10000 pascals.
        text = text.split("=")[0].strip()
        text = _WHOLE.get(text, _WHOLE.get(text.casefold(), text)).translate(_CHARACTERS)
        text = _OF_WATER.sub("", text)
        text = _DEGREES.sub(lambda m: "K" if m[1].upper() == "K" else f"deg{m[1].upper()}", text)
        text = text.replace("℃", "degC").replace("℉", "degF")
        unit = _Reader(text).read()
        if not (math.isfinite(unit.scale) and 0 < unit.scale):
            msg = f"the number in it is {unit.scale:g}"
            raise ValueError(msg)
        return unit

    def times(self, other: UnitText, power: int = 1) -> None:
        """Multiply by a power of another."""
        if other.scale == 0 and power < 0:
            msg = "it divides by zero"
            raise ValueError(msg)
        self.scale *= other.scale**power
        for name, n in other.powers.items():
            total = self.powers.pop(name, 0) + n * power
            if abs(total) > _HIGHEST_POWER:
                msg = f"the power {total} is out of range"
                raise ValueError(msg)
            if total:
                self.powers[name] = total


class _Reader:
    """Goes through the tokens of a text from left to right."""

    def __init__(self, text: str) -> None:
        # A text without a small letter is written in capitals: M is no molar, and PA no petaampere.
        self.capitals = len(re.findall(r"[A-Z]", text)) > 1 and text == text.upper()
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                msg = f"{text[at]!r} is not part of a unit"
                raise ValueError(msg)
            self.tokens.append((str(token.lastgroup), token[0]))
            at = token.end()
        self.at = 0

    def read(self) -> UnitText:
        unit = self._product(0)
        if self.at < len(self.tokens):
            msg = f"{self.tokens[self.at][1]!r} is out of place"
            raise ValueError(msg)
        return unit

    def _next(self, *kinds: str) -> str | None:
        """Take the next token if it is of one of some kinds."""
        if self.at < len(self.tokens) and self.tokens[self.at][0] in kinds:
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def _product(self, depth: int) -> UnitText:
        unit, first = UnitText(), True
        while True:
            self._next("blank")
            over = bool(self._next("over")) or self._per()
            if not over and not first:
                self._next("times")
            self._next("blank")
            factor = self._factor(depth, divisor=over, first=first)
            if factor is None:
                if over or (first and self.tokens):
                    msg = "a factor is missing"
                    raise ValueError(msg)
                return unit
            unit.times(factor, -1 if over else 1)
            first = False

    def _per(self) -> bool:
        here = self.at
        if self._next("name") == "per":
            return True
        self.at = here
        return False

    def _factor(self, depth: int, *, divisor: bool, first: bool) -> UnitText | None:
        """Read one number, name or bracket, with its power."""
        if self._next("open"):
            if depth >= _DEEPEST:
                msg = "brackets lie too deep"
                raise ValueError(msg)
            inner = self._product(depth + 1)
            if not self._next("close"):
                msg = "a bracket is not closed"
                raise ValueError(msg)
            return self._raised(inner)
        if number := self._next("number"):
            return self._counted(_number(number), divisor=divisor, first=first)
        name = self._next("name")
        if name is None:
            return None
        if glued := self._glued(name):
            unit = self._named(glued[0])
            unit.times(self._raised(self._named(glued[1])))
            return unit
        return self._raised(self._named(name))

    def _counted(self, number: float, *, divisor: bool, first: bool) -> UnitText:
        """Read what a number is: a factor, a base (10-3), or how many units are one factor (mm/3hr, mm 3h-1)."""
        if (power := self._power()) is not None:
            return UnitText(_raise(number, power))
        here = self.at
        if divisor:
            self._next("blank")
        name = self._next("name") if divisor or not first else None
        if name is None:
            self.at = here
            return UnitText(number)
        unit = self._named(name)
        unit.scale *= number
        return self._raised(unit)

    def _named(self, name: str) -> UnitText:
        if name.casefold() in _EIGHTHS:
            return UnitText(0.125)
        folded = name.casefold()
        spelled = _NAMES.get(name) or _NAMES.get(folded)
        if spelled is None and (self.capitals or len(name) > 2):
            spelled = _ANY_CASE.get(folded)
        return UnitText(powers={spelled or _SHORT.get(name, name): 1})

    def _glued(self, name: str) -> tuple[str, str] | None:
        # With a power only: the names of units are not to be taken apart.
        follows = self.at < len(self.tokens) and self.tokens[self.at][0] in ("sign", "power", "number")
        parts = _GLUED.fullmatch(name) if follows else None
        return (parts[1] or parts[3], parts[2] or parts[4]) if parts else None

    def _raised(self, unit: UnitText) -> UnitText:
        power = self._power()
        if power is None or power == 1:
            return unit
        if abs(power) > _HIGHEST_POWER:
            msg = f"the power {power} is out of range"
            raise ValueError(msg)
        out = UnitText()
        out.times(unit, power)
        return out

    def _power(self) -> int | None:
        """Power that follows, if any: ``-2``, ``^2``, ``**-2``, ``^(-2)``."""
        here = self.at
        marked = self._next("power")
        bracket = marked and self._next("open")
        sign = self._next("sign")
        digits = self._next("number")
        if digits is None or not digits.isdigit() or len(digits) > 3:
            if marked or sign:
                msg = f"the power {digits or ''!r} is not a small whole number"
                raise ValueError(msg)
            self.at = here
            return None
        if bracket and not self._next("close"):
            msg = "a bracket is not closed"
            raise ValueError(msg)
        return -int(digits) if sign == "-" else int(digits)


def _number(text: str) -> float:
    value = float(text)
    if value and not 10.0**-_HIGHEST_EXPONENT <= value <= 10.0**_HIGHEST_EXPONENT:
        msg = f"the number {text[:20]} is out of range"
        raise ValueError(msg)
    return value


def _raise(base: float, power: int) -> float:
    """Return a power of a number: 10^-3, 10-3."""
    if base == 0 and power < 0:
        msg = "it divides by zero"
        raise ValueError(msg)
    if abs(power) * abs(math.log10(base or 1.0)) > _HIGHEST_EXPONENT:
        msg = f"the power {power} of {base:g} is out of range"
        raise ValueError(msg)
    return float(base**power)
