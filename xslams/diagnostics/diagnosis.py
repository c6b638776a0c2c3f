"""What a diagnosis says: findings as lines for people, and as data for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import xarray as xr

from xslams.display import Section, page, table

__all__ = ["Diagnosis", "Finding", "rounded"]


def rounded(value: float, digits: int = 3) -> str:
    """Return a number to some digits, and large ones to the last digit before the point.

    Examples
    --------
    >>> rounded(0.12345), rounded(2840.4), rounded(float("nan"))
    ('0.123', '2840', 'nan')
    """
    large = np.isfinite(value) and abs(value) >= 10**digits
    return f"{value:.0f}" if large else f"{value:.{digits}g}"


@dataclass(frozen=True)
class Finding:
    """One number, what it means, and what to change.

    Attributes
    ----------
    subject
        What it is of: a variable with its level, or a source.
    test
        Name of the number.
    value
        The number.
    uncertainty
        Its sampling error, one standard deviation; NaN where there are too few times to know.
    expected
        What it is where all is well; NaN for what is no test.
    verdict
        "good", "bad", "unsure" or "information".
    meaning, advice
        In words; no advice where there is nothing to change.
    """

    subject: str
    test: str
    value: float
    uncertainty: float
    expected: float
    verdict: str
    meaning: str
    advice: str = ""

    @property
    def number(self) -> str:
        """The number, with its sampling error where that is known."""
        sure = f" ± {rounded(self.uncertainty, 2)}" if np.isfinite(self.uncertainty) else ""
        return f"{rounded(self.value)}{sure}"

    def __str__(self) -> str:
        advice = f" {self.advice}" if self.advice else ""
        return f"[{self.verdict}] {self.subject}: {self.test} {self.number}. {self.meaning}{advice}"


@dataclass(frozen=True)
class Diagnosis:
    """Findings on an analysis. Printed, they are a report; `to_dataset` and `to_dict` are for programs.

    Attributes
    ----------
    findings
        All findings, in the order in which they are to be read.
    """

    findings: tuple[Finding, ...]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def find(self, test: str, subject: str | None = None) -> list[Finding]:
        """Return the findings of a test, of one subject or of all."""
        return [f for f in self.findings if f.test == test and subject in (None, f.subject)]

    def to_dict(self) -> dict[str, dict[str, dict[str, object]]]:
        """Return findings as ``{subject: {test: {"value": ..., "verdict": ...}}}``."""
        found: dict[str, dict[str, dict[str, object]]] = {}
        for finding in self.findings:
            fields = asdict(finding)
            found.setdefault(fields.pop("subject"), {})[fields.pop("test")] = fields
        return found

    def to_dataset(self) -> xr.Dataset:
        """Return ``value``, ``uncertainty``, ``expected`` and ``verdict`` along dimensions (subject, test)."""
        subjects = list(dict.fromkeys(f.subject for f in self.findings))
        tests = list(dict.fromkeys(f.test for f in self.findings))
        shape = len(subjects), len(tests)
        numbers = {name: np.full(shape, np.nan) for name in ("value", "uncertainty", "expected")}
        verdict = np.full(shape, "", object)
        for f in self.findings:
            place = subjects.index(f.subject), tests.index(f.test)
            for name, array in numbers.items():
                array[place] = getattr(f, name)
            verdict[place] = f.verdict
        dims = ("subject", "test")
        variables = {**{n: (dims, a) for n, a in numbers.items()}, "verdict": (dims, verdict)}
        return xr.Dataset(variables, {"subject": np.array(subjects, object), "test": np.array(tests, object)})

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings)) or "Nothing to diagnose: give truth= or obs=."

    __repr__ = __str__

    def _repr_html_(self) -> str:
        names = "verdict", "test", "value", "meaning", "advice"
        parts = []
        for subject in dict.fromkeys(f.subject for f in self.findings):
            own = [f for f in self.findings if f.subject == subject]
            bad = sum(f.verdict == "bad" for f in own)
            note = f"({bad} of {len(own)} bad)" if bad else f"({len(own)})"
            rows = [(f.verdict, f.test, f.number, f.meaning, f.advice) for f in own]
            parts.append(Section(subject, table(names, rows), note, opened=True))
        return page("xslams.Diagnosis", f"{len(self.findings)} findings", parts, str(self))
