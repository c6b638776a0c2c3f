"""Diagnostics in words: whether an ensemble is calibrated, errors are as stated, and what each source is worth."""

from __future__ import annotations

from xslams.diagnostics.diagnosis import Diagnosis, Finding
from xslams.diagnostics.verbs import diagnose, impact

__all__ = ["Diagnosis", "Finding", "diagnose", "impact"]
