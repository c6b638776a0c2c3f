"""Run an experiment: every method on every case, one row of scores for each case and level."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import xarray as xr

from examples.paper.atmosphere import Atmosphere
from examples.paper.configurations import SETS, Experiment, Size
from examples.paper.degraded import Degraded
from examples.paper.methods import KINDS, analyse, during, reconstruction, trained
from examples.paper.optimal_interpolation import OptimalInterpolation
from examples.paper.published import filled, observe_latents
from examples.paper.scoring import score
from xslams.model import Model

__all__ = ["run", "run_published"]


def run(experiment: Experiment, atmosphere: Atmosphere, size: Size, folder: Path) -> pd.DataFrame:
    """Run an experiment.

    Parameters
    ----------
    experiment
        What is varied.
    atmosphere
        Fields and networks.
    size
        How large it is.
    folder
        Where trained models are kept.

    Returns
    -------
    DataFrame
        Columns ``method``, ``sources``, what is varied, ``case``, ``level``, and scores.
    """
    models = {kind: trained(kind, atmosphere, folder, size.budget) for kind in KINDS}
    parts = []
    for value, degraded in experiment.backgrounds.items():
        rows = _rows(experiment, atmosphere, size, degraded, models)
        parts += [_labelled(scores, labels, experiment.column, value, case) for labels, case, scores in rows]
        print(f"{experiment.column}={value}: {len(parts)} analyses", flush=True)
    return pd.concat(parts, ignore_index=True)


def run_published(experiment: Experiment, atmosphere: Atmosphere, size: Size, folder: Path) -> pd.DataFrame:
    """Run the published procedure with the truth encoded, and with the background encoded in its place.

    Parameters
    ----------
    experiment, atmosphere, size, folder
        As for `run`.

    Returns
    -------
    DataFrame
        As that of `run`.
    """
    model = trained("latent", atmosphere, folder, size.budget)
    parts = []
    for value, degraded in experiment.backgrounds.items():
        background = degraded.observe(atmosphere.testing["t"], atmosphere.spread, seed=3)
        for case, days in enumerate(atmosphere.cases(size.cases, size.frames)):
            truth, seen = atmosphere.testing.isel(time=days), during(background, days)
            sampling = {"members": size.members, "steps": size.steps}
            analyses = {
                ("published", "the truth, encoded"): observe_latents(model, truth, **sampling),
                ("published", "the background, encoded"): observe_latents(
                    model, filled(model, seen, truth), **sampling
                ),
                ("latent", "background"): analyse(model, truth, [seen], **sampling),
            }
            for labels, analysis in analyses.items():
                scores = score(analysis, truth, atmosphere.level)
                parts.append(_labelled(scores, labels, experiment.column, value, case))
        print(f"{experiment.column}={value}: {len(parts)} analyses", flush=True)
    return pd.concat(parts, ignore_index=True)


def _labelled(scores: pd.DataFrame, labels: tuple[str, str], column: str, value: float, case: int) -> pd.DataFrame:
    """Rows of one analysis with what it is."""
    scores = scores.rename_axis("level").reset_index()
    head = {"method": labels[0], "sources": labels[1], column: value, "case": case}
    return pd.concat([pd.DataFrame(head, index=scores.index), scores], axis=1)


def _rows(
    experiment: Experiment, atmosphere: Atmosphere, size: Size, degraded: Degraded, models: dict[str, Model]
) -> Iterator[tuple[tuple[str, str], int, pd.DataFrame]]:
    """Labels of a method, number of a case, scores."""
    background = degraded.observe(atmosphere.testing["t"], atmosphere.spread, seed=3)
    networks = {"background": background, **atmosphere.networks}
    # Tuned once for all cases.
    classical = {
        name: OptimalInterpolation(atmosphere, degraded, SETS[name], size.tuned)
        for name in experiment.sets
        if experiment.references
    }
    for case, days in enumerate(atmosphere.cases(size.cases, size.frames)):
        truth = atmosphere.testing.isel(time=days)
        seen = {name: during(source, days) for name, source in networks.items()}

        def of(ensemble: xr.Dataset, truth: xr.Dataset = truth) -> pd.DataFrame:
            return score(ensemble, truth, atmosphere.level)

        if experiment.references:
            nothing = analyse(models["pixel"], truth, [], size.members, size.steps)
            yield ("climatology", "none"), case, of(nothing)
            yield ("autoencoder alone", "the truth"), case, of(reconstruction(models["latent"], truth))
            for name, oi in classical.items():
                observed = {n: seen[n].data for n in ("background", *SETS[name])}
                yield ("optimal interpolation", name), case, oi.score(oi.analyse(observed, truth), truth)
        for name in experiment.sets:
            sources = [seen[n] for n in ("background", *SETS[name])]
            for kind, model in models.items():
                yield (kind, name), case, of(analyse(model, truth, sources, size.members, size.steps))
