"""Run an experiment: every method on every case, one row of scores for each case and level."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
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

#: Least steps of the published procedure, whose guidance diverges with a quarter of them.
_STEPS = 64


def run(
    experiment: Experiment, atmosphere: Atmosphere, size: Size, folder: Path, *, classical: bool = True
) -> Iterator[pd.DataFrame]:
    """Run an experiment, case by case, so that one that is interrupted leaves those that are done.

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
    classical
        Whether optimal interpolation is among the references.

    Yields
    ------
    DataFrame
        Columns ``method``, ``sources``, what is varied, ``case``, ``level``, scores, and ``seconds`` of the processor
        for a member, of one case and one value of what is varied.
    """
    models = {kind: trained(kind, atmosphere, folder, size.budget) for kind in KINDS}
    benches = {
        value: _Bench(experiment, atmosphere, size, degraded.on(size.coarsen), models, classical)
        for value, degraded in experiment.backgrounds.items()
    }
    for case, days in atmosphere.in_turn(size.cases, size.frames):
        for value, bench in benches.items():
            rows = [_labelled(scores, labels, experiment.column, value, case) for labels, scores in bench.rows(days)]
            print(f"case {case}, {experiment.column}={value}: {len(rows)} analyses", flush=True)
            yield pd.concat(rows, ignore_index=True)


def run_published(experiment: Experiment, atmosphere: Atmosphere, size: Size, folder: Path) -> Iterator[pd.DataFrame]:
    """Run the published procedure with the truth encoded, and with the background encoded in its place.

    Parameters
    ----------
    experiment, atmosphere, size, folder
        As for `run`.

    Yields
    ------
    DataFrame
        As by `run`.
    """
    model = trained("latent", atmosphere, folder, size.budget)
    sampling = {"members": size.members, "steps": size.steps}
    published = {"members": size.members, "steps": max(size.steps, _STEPS)}
    backgrounds = {
        value: degraded.on(size.coarsen).observe(atmosphere.testing["t"], atmosphere.spread, seed=3)
        for value, degraded in experiment.backgrounds.items()
    }
    for case, days in atmosphere.in_turn(size.cases, size.frames):
        truth = atmosphere.testing.isel(time=days)
        # Whatever becomes of the background, the analysis that is shown the truth is the same.
        shown = _timed(lambda truth=truth: observe_latents(model, truth, **published), truth, atmosphere.level)
        for value, background in backgrounds.items():
            seen = during(background, days)
            encoded = filled(model, seen, truth)
            rows = {
                ("published", "the truth, encoded"): shown,
                ("published", "the background, encoded"): _timed(
                    lambda encoded=encoded: observe_latents(model, encoded, **published), truth, atmosphere.level
                ),
                ("latent", "background"): _timed(
                    lambda truth=truth, seen=seen: analyse(model, truth, [seen], **sampling), truth, atmosphere.level
                ),
            }
            parts = [_labelled(scores, labels, experiment.column, value, case) for labels, scores in rows.items()]
            print(f"case {case}, {experiment.column}={value}: {len(parts)} analyses", flush=True)
            yield pd.concat(parts, ignore_index=True)


def _labelled(scores: pd.DataFrame, labels: tuple[str, str], column: str, value: float, case: int) -> pd.DataFrame:
    """Rows of one analysis with what it is."""
    scores = scores.rename_axis("level").reset_index()
    head = {"method": labels[0], "sources": labels[1], column: value, "case": case}
    return pd.concat([pd.DataFrame(head, index=scores.index), scores], axis=1)


def _timed(analyse: Callable[[], xr.Dataset], truth: xr.Dataset, level: str) -> pd.DataFrame:
    """Scores of an analysis, and seconds of the processor for one of its members."""
    start = time.process_time()
    ensemble = analyse()
    seconds = time.process_time() - start
    return score(ensemble, truth, level).assign(seconds=seconds / ensemble.sizes.get("member", 1))


class _Bench:
    """Every method on the same background; what does not depend on the days is made once."""

    def __init__(
        self,
        experiment: Experiment,
        atmosphere: Atmosphere,
        size: Size,
        degraded: Degraded,
        models: Mapping[str, Model],
        classical: bool,
    ) -> None:
        self._experiment, self._atmosphere, self._models = experiment, atmosphere, models
        self._sampling = size.members, size.steps
        background = degraded.observe(atmosphere.testing["t"], atmosphere.spread, seed=3)
        self._networks = {"background": background, **atmosphere.networks}
        chosen = experiment.sets if experiment.references and classical else ()
        # Tuned once for all cases.
        self._classical = {n: OptimalInterpolation(atmosphere, degraded, SETS[n], size.tuned) for n in chosen}

    def rows(self, days: slice) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
        """Labels of a method and its scores."""
        truth, level = self._atmosphere.testing.isel(time=days), self._atmosphere.level
        seen = {name: during(source, days) for name, source in self._networks.items()}
        if self._experiment.references:
            nothing = _timed(lambda: analyse(self._models["pixel"], truth, [], *self._sampling), truth, level)
            yield ("climatology", "none"), nothing
            floor = _timed(lambda: reconstruction(self._models["latent"], truth), truth, level)
            yield ("autoencoder alone", "the truth"), floor
        for name, oi in self._classical.items():
            start = time.process_time()
            analysis = oi.analyse({n: seen[n].data for n in ("background", *SETS[name])}, truth)
            seconds = time.process_time() - start
            yield ("optimal interpolation", name), oi.score(analysis, truth).assign(seconds=seconds)
        for name in self._experiment.sets:
            sources = [seen[n] for n in ("background", *SETS[name])]
            for kind, model in self._models.items():
                scores = _timed(lambda m=model, s=sources: analyse(m, truth, s, *self._sampling), truth, level)
                yield (kind, name), scores
