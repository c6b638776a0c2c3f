"""The report that an analysis carries, and a diagnosis made of it: one estimate of errors, and no rerun."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import xarray as xr

from xslams.likelihood import ErrorModel, SourceLikelihood
from xslams.observations.audit import Audit, AuditedLikelihood
from xslams.observations.background_check import Expectation
from xslams.observations.report import statistics
from xslams.pipeline.report import carry
from xslams.pipeline.windows import AnalysisWindow

WINDOWS, VALUES, SPREAD = 40, 300, 0.5


def carried(stated: float, true: float = 1.0) -> xr.Dataset:
    """Scalar analyses with the gain and spread of the stated error; each window is one of 40."""
    rng, gain = np.random.default_rng(0), SPREAD**2 / (SPREAD**2 + stated**2)
    tables = []
    for _ in range(WINDOWS):
        y = rng.normal(0, SPREAD, VALUES) + rng.normal(0, true, VALUES)
        source = SourceLikelihood("a", sp.csr_array((VALUES, 1)), y, ErrorModel(np.full(VALUES, stated**2)))
        part = AuditedLikelihood(source, Audit(VALUES, owned=np.ones(VALUES, bool)))
        members = gain * y + rng.normal(0, stated * gain**0.5, (50, VALUES))
        tables.append([statistics(part, Expectation(np.zeros(VALUES), np.full(VALUES, SPREAD)), members)])
    time = pd.date_range("2000", periods=WINDOWS)
    analysis = xr.Dataset({"t": (("member", "time"), np.zeros((50, WINDOWS)))}, {"time": time, "member": range(50)})
    windows = [AnalysisWindow(i, i + 1, i, i + 1) for i in range(WINDOWS)]
    return carry(analysis, np.array(tables), ["a"], ["K"], analysis["time"], windows)


@pytest.mark.parametrize("stated", [0.5, 1.0, 2.0])
def test_report_and_diagnosis_tell_the_same_error(stated):
    analysis = carried(stated)
    found = {f.test: f for f in analysis.slams.diagnose()}
    told = analysis.slams.report()["estimated_error"].item()
    # They differ by the mean innovation, which the report takes for a bias.
    assert found["error"].value == pytest.approx(told, rel=1e-3)
    assert told == pytest.approx(1.0, rel=0.05)
    assert found["error"].expected == pytest.approx(stated)
    assert (found["error"].verdict == "good") is (stated == 1.0)
    assert found["chi-square"].value == pytest.approx((1 + SPREAD**2) / (stated**2 + SPREAD**2), rel=0.05)
    gain = SPREAD**2 / (SPREAD**2 + stated**2)
    assert found["degrees of freedom for signal"].value == pytest.approx(gain * WINDOWS * VALUES, rel=0.02)
    lazy = analysis.chunk(obs_segment=7)
    assert lazy.slams.report()["estimated_error"].compute().item() == told
    assert str(lazy.slams.diagnose()) == str(analysis.slams.diagnose())


def test_a_report_without_what_was_learned_is_read_by_the_names_of_its_sums():
    analysis = carried(2.0)
    names = list(analysis["obs_statistic"].values)
    old = analysis.isel(obs_statistic=[i for i, name in enumerate(names) if name != "signal"][::-1])
    # By products of innovations alone, which is between what is stated and what is true.
    told = 2.0 * np.sqrt((SPREAD**2 + 1) / (SPREAD**2 + 4))
    assert old.slams.report()["estimated_error"].item() == pytest.approx(told, rel=0.03)
    assert old.slams.report()["given"].item() == WINDOWS * VALUES
