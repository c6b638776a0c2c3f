r"""Scores of an analysis against the truth: area-weighted, lazy, and honest about small ensembles.

The ensemble is reduced first, cell by cell; then the cells and times are averaged with the weights `area_weights`, and
only where the truth is known. With members :math:`x_1, \dots, x_M`, their mean :math:`m` and the truth :math:`y`:

- ``rmse`` is the root of the averaged :math:`(m - y)^2`, ``bias`` the average of :math:`m - y`;
- ``spread`` is the root of the averaged ensemble variance (with :math:`M - 1` in the denominator);
- ``spread_skill`` is :math:`\sqrt{(M + 1) / M}` times spread over RMSE: 1 where truth and members are exchangeable,
  because the mean of M members has itself an error of one M-th of the variance (Fortin et al. 2014,
  doi:10.1175/JHM-D-14-0008.1);
- ``crps`` is the *fair* estimator
  :math:`\frac{1}{M} \sum_i |x_i - y| - \frac{1}{M (M - 1)} \sum_{i<j} |x_i - x_j|`, whose expectation does not depend
  on M (Ferro 2014, doi:10.1002/qj.2270);
- ``rank_histogram`` is the share of the area in which the truth has each of the ranks 0 to M among the members; truths
  that equal some members share their weight evenly among the ranks that they could have;
- of an antithetic ensemble (`assimilate(..., antithetic=True)`), whose mean has a negligible sampling error,
  ``spread``, ``spread_skill`` and ``crps`` leave the distances within pairs out, and the truth is ranked among one
  member of each pair, so that all estimate what they do for independent members. Members may be in any order, and
  single. Of one pair alone the distance of independent members is estimated as for a normal distribution;
- ``wasserstein`` is the distance of the histograms of values, members pooled, of each time, averaged over time. It is
  the score of the SLAMS paper and says nothing about whether values are at the right place.

The truth is converted to the units of the analysis. Times, levels and other labels agree within a hundredth of the
distance to their neighbours; those without truth are left out, and the attribute ``matched`` of every score says how
many are left. Weights are the cosine of latitude on grids and 1 at points; a place that a grid repeats, such as the
columns at 0 and 360 degrees, counts once, and one that is NaN not at all.

Statistics of each cell and time (`statistics`) are kept apart from the metrics that are made of their averages
(`metrics`). A function that is decorated with `register_score` joins the scores that ``analysis.slams.score(truth)``
computes.

Examples
--------
>>> import numpy as np, xarray as xr
>>> rng = np.random.default_rng(0)
>>> lat = xr.DataArray([-60.0, 0.0, 60.0], dims="lat", attrs={"units": "degrees_north"})
>>> noise = rng.normal(size=(51, 40, 3, 50))
>>> field = xr.DataArray(noise, dims=("member", "time", "lat", "lon"), coords={"lat": lat}, name="t")
>>> scores = score(field.isel(member=slice(1, None)), field.isel(member=0, drop=True))
>>> [round(float(scores[name]), 2) for name in ("rmse", "crps", "spread_skill")]
[1.0, 0.56, 1.01]
"""

from __future__ import annotations

from xslams.scores.base import SCORES, register_score
from xslams.scores.dimensions import area_weights
from xslams.scores.metrics import bias, crps, rank_histogram, rmse, spread, spread_skill, wasserstein
from xslams.scores.scoring import score

__all__ = [
    "SCORES",
    "area_weights",
    "bias",
    "crps",
    "rank_histogram",
    "register_score",
    "rmse",
    "score",
    "spread",
    "spread_skill",
    "wasserstein",
]
