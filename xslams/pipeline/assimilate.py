"""Draw an ensemble of states from a model's posterior given observations."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams import observations
from xslams.arguments import is_names, require
from xslams.errors import OptionError, VariableError
from xslams.labels.domain import domain_of
from xslams.labels.frame_labels import with_frames
from xslams.options import ComputeOptions, EnsembleOptions, SamplerOptions
from xslams.pipeline import graph, provenance, segment, windows, workers
from xslams.pipeline import report as reports
from xslams.pipeline.finding import model_for
from xslams.pipeline.inputs import Inputs
from xslams.progress import shown
from xslams.spec import Spec
from xslams.typing import Engine, Precision

if TYPE_CHECKING:
    from xslams.inference.guidance import Guidance
    from xslams.inference.samplers import Sampler
    from xslams.model import Model
    from xslams.observations import BackgroundError
    from xslams.observations.observation import ObservationsLike

__all__ = ["assimilate"]


def assimilate(
    ds: xr.Dataset,
    obs: ObservationsLike,
    model: Model | str | os.PathLike[str] | None = None,
    *,
    members: int = 16,
    background_error: float | Mapping[str, Any] | xr.DataArray | BackgroundError | None = None,
    guidance: str | Guidance = SamplerOptions.guidance,
    sampler: str | Sampler = SamplerOptions.sampler,
    steps: int = SamplerOptions.steps,
    corrections: int = SamplerOptions.corrections,
    antithetic: bool = SamplerOptions.antithetic,
    overlap: int | Literal["auto"] = "auto",
    variables: Sequence[str] | None = None,
    seed: int = 0,
    device: str | None = ComputeOptions.device,
    batch_size: int | Literal["auto"] = ComputeOptions.batch_size,
    precision: Precision = ComputeOptions.precision,
    compile: bool = ComputeOptions.compile,
    progress: bool | None = None,
    report: bool = False,
    engine: Engine = "auto",
) -> xr.Dataset:
    """Draw an ensemble of states from the model's posterior given observations; see ``ds.slams.assimilate``.

    Parameters
    ----------
    ds
        Grid and time of the analysis, and the background where `background_error` is given.
    obs, model, members, background_error, guidance, sampler, steps, corrections, antithetic
        As in ``ds.slams.assimilate``.
    overlap, variables, seed, device, batch_size, precision, compile, progress, report, engine
        As in ``ds.slams.assimilate``.

    Returns
    -------
    Dataset
        State variables with dimensions (member, time, [level,] lat, lon); lazy where `ds` is dask-backed.
    """
    ensemble = EnsembleOptions(members, overlap, seed, progress, report)
    sampling = SamplerOptions(guidance, sampler, steps, corrections, antithetic)
    compute_options = ComputeOptions(device, batch_size, precision, compile)
    model = model_for(observations.first_member(ds), model)
    spec, domain = model.spec, domain_of(model.spec)
    workers.check_device(device)
    chosen = _choose(spec, variables)
    inputs = Inputs.of(ds, obs, model, background_error, engine)
    background_error = inputs.background_error
    cut = windows.cut(inputs.time, spec, ensemble.overlap)
    lazy = graph.is_lazy(ds)
    shape = (members, inputs.time.size, spec.state_channels, len(spec.lat), len(spec.lon))
    if not lazy:
        _require_memory(shape)
    # One window checks as it goes; of several, each sees too little to tell what is missing.
    for source in inputs.sources if len(cut) > 1 or lazy else ():
        source.check()
    run = segment.Run(tuple(range(members)), sampling, compute_options, seed)
    if lazy:
        values, tables = graph.lazy_analysis(model, inputs, cut, run, shape, report=report)
    else:
        values, tables = _eager_analysis(model, inputs, cut, run, shape, report=report, progress=progress)
    analysis = domain.from_channels(values, inputs.template, member=np.arange(members))[chosen]
    analysis = with_frames(analysis, inputs.frames, spec)
    if antithetic:
        # Who scores the ensemble must know that its members are not independent.
        analysis["member"].attrs["antithetic"] = "members 2k and 2k + 1 were drawn from noises of opposite sign"
    analysis.attrs = provenance.attributes(
        ds,
        model,
        "assimilate",
        members=members,
        background_error="none" if background_error is None else provenance.brief(background_error),
        **dataclasses.asdict(sampling),
        seed=seed,
        precision=precision,
        compile=compile,
        overlap=overlap,
        engine=engine,
        observations=", ".join(source.name for source in inputs.given),
        inputs=provenance.input_hashes(ds, inputs.given, background_error),
    )
    if inputs.estimated:
        analysis.attrs["xslams_estimated_errors"] = "; ".join(map(str, inputs.estimated))
    if report:
        names, units = reports.labels(spec, inputs.sources, background_error)
        analysis = reports.carry(analysis, tables, names, units, domain.label(inputs.template), cut)
    return analysis


def _eager_analysis(
    model: Model,
    inputs: Inputs,
    cut: Sequence[windows.AnalysisWindow],
    run: segment.Run,
    shape: tuple[int, ...],
    *,
    report: bool,
    progress: bool | None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Analyse window after window: state of all frames, and sums over the observations of each window."""
    values, tables, gross = np.empty(shape, np.float32), [], observations.GrossErrors()
    with shown("assimilate", inputs.time.size, progress) as seen:
        for window in cut:
            values[:, window.first : window.last], table = segment.analyse(
                model,
                *inputs.within(window),
                inputs.time,
                window,
                run,
                progress=seen,
                strict=len(cut) == 1,
                report=report,
                gross=gross,
            )
            tables.append(table)
        if seen is not None:
            seen.finish()
    gross.warn()
    return values, np.stack(tables)


def _choose(spec: Spec, variables: Sequence[str] | None) -> list[str]:
    """Names of the state variables to return."""
    require(variables is None or is_names(variables), "variables", variables, "a list of names")
    known = [v.name for v in spec.state]
    chosen = known if variables is None else [variables] if isinstance(variables, str) else list(variables)
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        msg = f"variables={variables!r}: the state of the model has {known}; auxiliary variables are not analysed."
        raise VariableError(msg)
    return chosen


def _require_memory(shape: tuple[int, ...]) -> None:
    """Raise `OptionError` where the result does not fit the memory of the machine, before it is filled."""
    size, most = 4 * math.prod(shape), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > most:
        msg = (
            f"members={shape[0]} over {shape[1]} frames take {size / 2**30:.0f} GiB, and this machine has "
            f"{most / 2**30:.0f} GiB. Take fewer, or a lazy Dataset, ds.chunk(time=...), and analysis.slams.to_zarr()."
        )
        raise OptionError(msg)
