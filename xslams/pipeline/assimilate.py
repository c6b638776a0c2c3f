"""From a Dataset to arrays, through the model, and back; the only place that knows dask.

Time is cut into segments that the prior sees as one trajectory each: a core of `SEGMENT` frames, counted from the first
time of the Dataset, and an overlap on either side that is computed and thrown away. Where the segments lie depends only
on the length of the time axis, and noise is keyed by time and member, so the result is the same whatever the chunks and
the workers. A block of the lazy result is a segment, of all members or, on large grids, of some.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams import observations
from xslams.errors import (
    CoverageError,
    DimensionError,
    GridError,
    ModelError,
    OptionError,
    UnitError,
    VariableError,
)
from xslams.labels import schema
from xslams.pipeline import workers
from xslams.spec import Spec, VariableSpec
from xslams.typing import PRECISIONS, FloatArray, Precision, SourceArrays
from xslams.zoo import pretrained as zoo

if TYPE_CHECKING:
    import os

    from xslams.model import Model
    from xslams.observations.observation import Observation, ObservationsLike

__all__ = [
    "SEGMENT", "SEGMENT_START", "STATISTICS", "assimilate", "check", "decode", "encode", "fit", "report", "segments",
]  # fmt: skip

#: Frames in the core of a segment.
SEGMENT = 30
# A rest shorter than this joins the segment before it: a trajectory of a few frames costs nearly as much as a full one.
_REST = 10

#: Coordinates of an analysis that report on its observations: statistics of segments, and the first time of each.
STATISTICS, SEGMENT_START = "obs_statistics", "obs_start"
_STATISTICS_DIMS = "obs_segment", "obs_source", "obs_statistic"
# Size of a block of a lazy result that is not exceeded where it can be helped; members are split for it.
_BLOCK_BYTES = 128 * 2**20

# Precipitation is transformed; every other variable is close enough to Gaussian once its seasonal cycle is removed.
_RAIN = ("precipitation", "rainfall", "snowfall")


@dataclass(frozen=True)
class Segment:
    """A stretch of the time axis: frames `start` to `stop` are computed, `first` to `last` are kept."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def kept(self) -> slice:
        """Frames to keep, counted from `start`."""
        return slice(self.first - self.start, self.last - self.start)


def segments(frames: int, overlap: int, core: int = SEGMENT) -> list[Segment]:
    """Cut a time axis.

    Parameters
    ----------
    frames
        Length of the axis.
    overlap
        Frames to add on either side, where there are any.
    core
        Frames to keep of each segment; the last one takes a short rest as well.

    Returns
    -------
    list of Segment
        Their cores follow each other without gap or overlap.

    Examples
    --------
    >>> [(s.start, s.first, s.last, s.stop) for s in segments(75, overlap=4)]
    [(0, 0, 30, 34), (26, 30, 60, 64), (56, 60, 75, 75)]
    >>> len(segments(40, overlap=4))
    1
    """
    starts = [s for s in range(0, frames, core) if s == 0 or frames - s > _REST]
    ends = [*starts[1:], frames]
    return [Segment(max(a - overlap, 0), min(b + overlap, frames), a, b) for a, b in zip(starts, ends, strict=True)]


def assimilate(
    ds: xr.Dataset,
    obs: ObservationsLike,
    model: Model | str | os.PathLike[str],
    *,
    members: int = 16,
    background_error: float | Mapping[str, Any] | xr.DataArray | None = None,
    guidance: str = "mmps",
    sampler: str = "auto",
    steps: int = 32,
    corrections: int = 0,
    antithetic: bool = False,
    overlap: int | Literal["auto"] = "auto",
    variables: Sequence[str] | None = None,
    seed: int = 0,
    device: str | None = None,
    batch_size: int | Literal["auto"] = "auto",
    precision: Precision = "float32",
    compile: bool = False,
    progress: bool = False,
    report: bool = False,
) -> xr.Dataset:
    """Draw an ensemble of states from the model's posterior given observations; see ``ds.slams.assimilate``.

    Parameters
    ----------
    ds
        Grid and time of the analysis, and the background where `background_error` is given.
    obs, model, members, background_error, guidance, sampler, steps, corrections, antithetic
        As in ``ds.slams.assimilate``.
    overlap, variables, seed, device, batch_size, precision, compile, progress, report
        As in ``ds.slams.assimilate``.

    Returns
    -------
    Dataset
        State variables with dimensions (member, time, [level,] lat, lon); lazy where `ds` is dask-backed.
    """
    model = _open(model)
    spec = model.spec
    _require(_is_count(members) and members > 0, "members", members, "a positive whole number")
    _require(
        overlap == "auto" or (_is_count(overlap)),
        "overlap",
        overlap,
        "'auto' or frames, 0 or more",
    )
    chosen = _choose(spec, variables)
    schema.check_time(ds, spec)
    schema.grid_positions(ds, spec)
    template = _template(ds)
    time = template[schema.coordinate(template, "time")]
    sources = observations.as_observations(obs)
    cut = _cut(time, spec, spec.window - 1 if overlap == "auto" else overlap)
    backgrounds = _backgrounds(ds, spec, time, cut, background_error)
    _require(precision in PRECISIONS, "precision", precision, " or ".join(map(repr, PRECISIONS)))
    _check_operators(model, sources, time)
    # One segment checks as it goes; of several, each sees too little to tell what is missing.
    for source in sources if len(cut) > 1 or _is_lazy(ds) else ():
        source.check(spec, time)
    settings = {
        "members": tuple(range(members)), "guidance": guidance, "sampler": sampler, "steps": steps,
        "corrections": corrections, "antithetic": antithetic, "seed": seed, "device": device, "batch_size": batch_size,
        "precision": precision, "compile": compile,
    }  # fmt: skip
    shape = (members, time.size, spec.state_channels, len(spec.lat), len(spec.lon))
    if _is_lazy(ds):
        values, tables = _lazy(model, sources, backgrounds, time, cut, settings, shape, report=report)
    else:
        values, each = np.empty(shape, np.float32), []
        for segment, background in zip(cut, backgrounds, strict=True):
            near = _seen(sources, time, segment, spec, len(cut), report=report)
            values[:, segment.first : segment.last], table = _assimilate_segment(
                model, near, background, time, segment, settings,
                progress=progress, strict=len(cut) == 1, report=report,
            )  # fmt: skip
            each.append(table)
        tables = np.stack(each)
    analysis = schema.from_channels(values, spec, template, member=np.arange(members))[chosen]
    if antithetic:
        # Who scores the ensemble must know that its members are not independent.
        analysis["member"].attrs["antithetic"] = "members 2k and 2k + 1 were drawn from noises of opposite sign"
    analysis.attrs = _provenance(
        ds,
        model,
        "assimilate",
        members=members,
        background_error="none" if background_error is None else _brief(background_error),
        **{k: v for k, v in settings.items() if k not in ("members", "device", "batch_size")},
        overlap=overlap,
        observations=", ".join(source.name for source in sources),
        inputs=_hashes(ds, sources, background_error),
    )
    if report:
        labels, units = _labels(spec, sources, background_error)
        starts = time.variable[[s.first for s in cut]]
        analysis = analysis.assign_coords(
            {
                # Of every segment, so that a store can hold them region by region; as objects, since zarr has no
                # stable form of strings of fixed length.
                STATISTICS: (_STATISTICS_DIMS, tables, {"long_name": "sums over the observations of a segment"}),
                SEGMENT_START: ("obs_segment", starts.data, {"long_name": "first time of a segment"}),
                "obs_source": xr.Variable("obs_source", np.array(labels, object)),
                "obs_units": ("obs_source", np.array(units, object)),
                "obs_statistic": xr.Variable("obs_statistic", np.array(observations.COLUMNS, object)),
            }
        ).drop_indexes(["obs_source", "obs_statistic"])
    return analysis


def _hashes(ds: xr.Dataset, sources: Sequence[Observation], background_error: Any) -> str:
    """Say what went in, source by source, so that a store can tell whether another run is the same."""
    from dask.base import tokenize

    # Of what is lazy, the token says where it comes from; nothing is read.
    parts = [f"{source.name} {tokenize(_content(vars(source)))[:16]}" for source in sources]
    if background_error is not None:
        parts.append(f"background {tokenize(_content({'ds': ds, 'error': background_error}))[:16]}")
    return ", ".join(parts)


def _content(value: Any) -> Any:
    """Value without what may differ between two runs that are the same: the history, and how files were stored."""
    if isinstance(value, xr.DataArray):
        value = value.to_dataset(name="values" if value.name is None else value.name)
    if isinstance(value, xr.Dataset):
        names = sorted(value.variables, key=str)
        return [(str(n), value[n].dims, value.variables[n].data, value[n].attrs) for n in names]
    if isinstance(value, Mapping):
        return [(str(k), _content(v)) for k, v in sorted(value.items(), key=lambda kv: str(kv[0]))]
    return value


def check(
    ds: xr.Dataset,
    obs: ObservationsLike,
    model: Model | str | os.PathLike[str],
    *,
    background_error: float | Mapping[str, Any] | xr.DataArray | None = None,
) -> xr.Dataset:
    """Report what would become of observations, without an analysis; see ``ds.slams.check``.

    Parameters
    ----------
    ds, obs, model, background_error
        As in ``ds.slams.assimilate``.

    Returns
    -------
    Dataset
        As `xslams.observations.background_check.report`, before the analysis.
    """
    model = _open(model)
    spec = model.spec
    schema.check_time(ds, spec)
    schema.grid_positions(ds, spec)
    template = _template(ds)
    time = template[schema.coordinate(template, "time")]
    sources = observations.as_observations(obs)
    cut = _cut(time, spec, spec.window - 1)
    _check_operators(model, sources, time)
    sums = np.zeros((1, 1))
    for segment, background in zip(cut, _backgrounds(ds, spec, time, cut, background_error), strict=True):
        parts, guesses = _screened(model, sources, background, time, segment, strict=len(cut) == 1, report=True)
        each = [observations.statistics(part, guess) for part, guess in zip(parts, guesses, strict=True)]
        sums = sums + np.reshape(each, (len(each), len(observations.COLUMNS)))
    return observations.report(*_labels(spec, sources, background_error), sums, after=False)


def report(analysis: xr.Dataset) -> xr.Dataset:
    """Report on observations that an analysis carries; see ``analysis.slams.report``.

    Parameters
    ----------
    analysis
        Result of ``ds.slams.assimilate(..., report=True)``.

    Returns
    -------
    Dataset
        As `xslams.observations.background_check.report`.

    Raises
    ------
    VariableError
        If it carries none.
    """
    if STATISTICS not in analysis.coords:
        msg = (
            "This Dataset carries no report on observations. Ask for one: ds.slams.assimilate(obs, model, "
            "report=True); or see what would become of them: ds.slams.check(obs, model)."
        )
        raise VariableError(msg)
    found = analysis[STATISTICS].variable
    if found.chunks is not None:
        # In one piece, so that sums come out the same to the last bit, lazy or not.
        found = found.chunk({"obs_segment": -1})
    # Names come back from files as strings of fixed length.
    labels, units = ([str(v) for v in analysis[n].values] for n in ("obs_source", "obs_units"))
    # Segments that an incomplete store lacks are NaN.
    return observations.report(labels, units, found.sum("obs_segment", skipna=True).data, after=True)


def _labels(spec: Spec, sources: Sequence[Observation], background_error: object) -> tuple[list[str], list[str]]:
    """Names and units of the parts of all sources, the background last."""
    labels = [label for source in sources for label in source.labels(spec)]
    units = [u for source in sources for u in source.units(spec)]
    if background_error is not None:
        names = [v.name for v in spec.state]
        labels += ["background"] if len(names) == 1 else [f"background:{n}" for n in names]
        units += [v.units for v in spec.state]
    return labels, units


def _backgrounds(
    ds: xr.Dataset, spec: Spec, time: xr.DataArray, cut: Sequence[Segment], error: Any
) -> list[Observation | None]:
    """Background of each segment as one more source; None where it has no error."""
    if error is None:
        return [None] * len(cut)
    parts = (ds.isel({time.dims[0]: slice(s.start, s.stop)}) for s in cut)
    return [observations.background_observation(part, spec, error) for part in parts]


def _check_operators(model: Model, sources: Sequence[Observation], time: xr.DataArray) -> None:
    """Check the observation operators of users on a few frames."""
    for source in sources:
        if source.operator is not None:
            from xslams.inference.arrays import check_operator

            check_operator(model, source.operator, schema.year_fraction(time[: model.spec.window]), source.name)


def _cut(time: xr.DataArray, spec: Spec, overlap: int) -> list[Segment]:
    """Segments of each stretch between gaps; a trajectory does not cross one."""
    return [
        Segment(s.start + run.start, s.stop + run.start, s.first + run.start, s.last + run.start)
        for run in _stretches(schema.hours(time), spec.time_step)
        for s in segments(run.stop - run.start, overlap)
    ]


def encode(ds: xr.Dataset, model: Model | str | os.PathLike[str], *, device: str | None = None) -> xr.Dataset:
    """Latent frames of a Dataset; see ``ds.slams.encode``.

    Parameters
    ----------
    ds
        The state variables of the model, and as many of its auxiliary ones as there are.
    model
        Model, name or path.
    device
        Where torch computes; by default wherever it is fastest.

    Returns
    -------
    Dataset
        Variable ``z`` with dimensions (time, z, z_lat, z_lon); lazy where `ds` is.
    """
    model = _open(model)
    schema.match_variables(ds, model.spec.state)
    fields = schema.to_channels(ds, model.spec, allow_missing=True)
    fraction = xr.DataArray(schema.year_fraction(fields["time"]), dims="time", coords={"time": fields["time"]})
    sizes = dict(zip(("z", "z_lat", "z_lon"), model.spec.latent_shape, strict=True))
    z = xr.apply_ufunc(
        _encode, fields, fraction, kwargs={"model": model, "device": device},
        input_core_dims=[["channel", "lat", "lon"], []], output_core_dims=[list(sizes)],
        dask="parallelized", output_dtypes=[np.float32], dask_gufunc_kwargs={"output_sizes": sizes},
    )  # fmt: skip
    z.attrs = {"long_name": "latent state", "units": "1"}
    latent = xr.Dataset({"z": z.drop_vars(["lat", "lon"], errors="ignore")})
    # A name would not find a model that is not in the zoo.
    latent.attrs = _provenance(ds, model, "encode") | (
        {} if model.path is None else {"xslams_model_path": str(model.path)}
    )
    return latent


def decode(
    latent: xr.Dataset, model: Model | str | os.PathLike[str] | None = None, *, device: str | None = None
) -> xr.Dataset:
    """Every variable of the model from latent frames; see ``ds.slams.decode``.

    Parameters
    ----------
    latent
        What `encode` returned.
    model
        Model, name or path; by default the one that encoded.
    device
        Where torch computes; by default wherever it is fastest.

    Returns
    -------
    Dataset
        State and auxiliary variables on the model's grid; lazy where `latent` is.
    """
    if model is None:
        path = latent.attrs.get("xslams_model_path", "")
        model = path if Path(path).is_file() else latent.attrs.get("xslams_model")
    if model is None:
        msg = "The Dataset does not say which model encoded it. Name it: .slams.decode(model)."
        raise ModelError(msg)
    model = _open(model)
    spec = model.spec
    if "z" not in latent or not {"time", "z", "z_lat", "z_lon"} <= set(latent["z"].dims):
        msg = (
            f"decode needs a variable 'z' with dimensions (time, z, z_lat, z_lon), as encode returns it; got "
            f"{sorted(map(str, latent.data_vars))}. Call ds.slams.encode(model) first."
        )
        raise VariableError(msg)
    hashed = latent.attrs.get("xslams_model_sha256")
    if hashed and model.sha256 and hashed != model.sha256:
        msg = (
            f"This Dataset was encoded by another model than {spec.name!r} (sha256 {hashed[:12]}..., not "
            f"{model.sha256[:12]}...). Latents of one model mean nothing to another; decode with the one that encoded."
        )
        raise ModelError(msg)
    z = latent["z"]
    fraction = xr.DataArray(schema.year_fraction(z["time"]), dims="time", coords={"time": z["time"]})
    shape = dict(zip(("channel", "lat", "lon"), spec.frame_shape, strict=True))
    values = xr.apply_ufunc(
        _decode, z, fraction, kwargs={"model": model, "device": device},
        input_core_dims=[["z", "z_lat", "z_lon"], []], output_core_dims=[list(shape)],
        dask="parallelized", output_dtypes=[np.float32], dask_gufunc_kwargs={"output_sizes": shape},
    )  # fmt: skip
    template = xr.Dataset(
        coords={
            "time": z["time"],
            "lat": ("lat", list(spec.lat), {"standard_name": "latitude", "units": "degrees_north"}),
            "lon": ("lon", list(spec.lon), {"standard_name": "longitude", "units": "degrees_east"}),
        }
    )
    decoded = schema.from_channels(values.transpose(..., "time", *shape), spec, template)
    decoded.attrs = _provenance(latent, model, "decode")
    return decoded


def fit(
    ds: xr.Dataset,
    aux: xr.Dataset | xr.DataArray | str | Sequence[str] | None = None,
    *,
    window: int = 5,
    latent_channels: int | None = None,
    epochs: int | None = None,
    device: str | None = None,
    seed: int = 0,
    progress: bool = True,
    name: str = "unnamed",
    summary: str = "",
    license: str = "",
    **options: Any,
) -> Model:
    """Train a model on a Dataset; see ``ds.slams.fit``.

    Parameters
    ----------
    ds, aux, window, latent_channels, epochs, device, seed, progress
        As in ``ds.slams.fit``.
    name, summary, license
        What the model says of itself.
    **options
        Further settings of `xslams.training.fit.fit_arrays`.

    Returns
    -------
    Model
        In memory; save it with ``model.save(path)``.
    """
    from xslams.training.fit import fit_arrays

    _require(_is_count(window) and window % 2 == 1, "window", window, "an odd number of frames")
    ds, names = _join(ds, aux)
    spec = _describe(ds, names, window=window, name=name, summary=summary, license=license)
    fields = schema.to_channels(ds, spec)
    runs = []
    for part in _runs(fields, spec):
        values = np.asarray(fields.isel(time=part), np.float32)
        _require_complete(values, spec)
        runs.append((values, schema.year_fraction(fields["time"].isel(time=part))))
    if epochs is not None:
        options["epochs"] = epochs
    return fit_arrays(
        spec, runs, latent_channels=latent_channels, device=device, seed=seed, progress=progress, **options
    )


def _join(
    ds: xr.Dataset, aux: xr.Dataset | xr.DataArray | str | Sequence[str] | None
) -> tuple[xr.Dataset, dict[str, tuple[str, ...]]]:
    """State and auxiliary variables in one Dataset, on the times that both have, and which is which."""
    if aux is None:
        aux = []
    if isinstance(aux, xr.DataArray):
        if aux.name is None:
            msg = "The auxiliary DataArray has no name; give it one: da.rename('pr')."
            raise VariableError(msg)
        aux = aux.to_dataset()
    if isinstance(aux, xr.Dataset):
        extra = schema.inspect(aux).variables
        time = schema.coordinate(ds, "time"), schema.coordinate(aux, "time")
        if time[0] is not None and time[1] is not None and time[0] != time[1]:
            aux = aux.rename({time[1]: time[0]})
        ds = ds.drop_vars(extra, errors="ignore")
        ds, aux = xr.align(ds, aux[list(extra)], join="inner", exclude=(set(ds.dims) | set(aux.dims)) - {time[0]})
        if not ds.sizes.get(time[0], 1):
            msg = "State and auxiliary variables have no time in common; select the same period, at the same hours."
            raise CoverageError(msg)
        try:
            ds = xr.merge([ds, aux], join="exact", compat="override", combine_attrs="drop_conflicts")
        except ValueError as e:
            msg = (
                f"State and auxiliary variables must be on the same grid; got {dict(ds.sizes)} and {dict(aux.sizes)} "
                f"({e}). Bring them together: aux.slams.regrid(ds)."
            )
            raise GridError(msg) from e
    else:
        extra = (aux,) if isinstance(aux, str) else tuple(aux)
    fields = schema.inspect(ds).variables
    missing = [n for n in extra if n not in fields]
    state = tuple(n for n in fields if n not in extra)
    if missing or not state:
        msg = (
            f"Of the auxiliary variables {extra}, {missing} are not in the Dataset"
            if missing
            else f"No variable is left for the state; the Dataset has {fields}, and {extra} are auxiliary"
        )
        msg += ". Fields have coordinates time, latitude and longitude; ds.slams shows which were recognised."
        raise VariableError(msg)
    return ds, {"state": state, "aux": extra}


def _describe(ds: xr.Dataset, names: Mapping[str, Sequence[str]], **given: Any) -> Spec:
    """Specification of a model for the variables, grid and time step of a Dataset."""
    grid = schema.grid_of(ds)
    time = schema.coordinate(ds, "time")
    if time is None or ds[time].size < 2:
        msg = "Training needs a time axis of several frames. Assign one: ds.assign_coords(time=...)."
        raise DimensionError(msg)
    variables = []
    for role, members in names.items():
        for name in members:
            da = ds[name]
            if "units" not in da.attrs:
                msg = f"{name!r} has no units, without which it cannot be observed. Set ds[{name!r}].attrs['units']."
                raise UnitError(msg)
            level = schema.coordinate(da, "level")
            deep = level is not None and level in da.dims
            units = str(da.attrs["units"])
            rain = any(w in str(da.attrs.get("standard_name", "")) for w in _RAIN) or name in ("pr", "precip", "tp")
            variables.append(
                VariableSpec(
                    name, units, role,
                    standard_name=da.attrs.get("standard_name"), long_name=da.attrs.get("long_name"),
                    transform="sqrt" if rain else "identity", scale=_rain_scale(units) if rain else 1.0,
                    level_dim=level if deep else None,
                    levels=tuple(float(v) for v in da[level].values) if deep else (),
                    level_attrs={k: v for k, v in da[level].attrs.items() if isinstance(v, str)} if deep else {},
                )
            )  # fmt: skip
    step = float(np.median(np.diff(schema.hours(ds[time]))))
    return Spec(
        tuple(variables), tuple(grid.lat.tolist()), tuple(grid.lon.tolist()), grid.periodic, time_step=step, **given
    )


def _rain_scale(units: str) -> float:
    """Two millimetres a day, where drizzle ends and the transform starts to bend; 1 of any other unit."""
    try:
        return float(schema.convert_units(xr.DataArray(2.0, attrs={"units": "mm day-1"}), units))
    except UnitError:
        return 1.0


def _stretches(hours: FloatArray, step: float) -> list[slice]:
    """Stretches of a time axis without gaps."""
    edges = [0, *(np.flatnonzero(np.diff(hours) > 1.001 * step) + 1).tolist(), hours.size]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _runs(fields: xr.DataArray, spec: Spec) -> list[slice]:
    """Stretches that are long enough for the window of the score network."""
    stretches = _stretches(schema.hours(fields["time"]), spec.time_step)
    runs = [run for run in stretches if run.stop - run.start >= spec.window]
    if not runs:
        msg = (
            f"No stretch of {spec.window} frames without a gap: there are {fields.sizes['time']} frames in "
            f"{len(stretches)} stretches. Take a smaller window or more data."
        )
        raise DimensionError(msg)
    return runs


def _require_complete(values: FloatArray, spec: Spec) -> None:
    missing = float(np.mean(~np.isfinite(values)))
    if missing:
        names = ", ".join(v.name for v in spec.variables)
        msg = (
            f"{missing:.1%} of the values of {names} are missing or infinite; training needs them all. "
            "Fill them (ds.interpolate_na, ds.fillna), or drop the frames that lack them (ds.dropna('time'))."
        )
        raise CoverageError(msg)


def _encode(fields: FloatArray, fraction: FloatArray, *, model: Model, device: str | None) -> npt.NDArray[np.float32]:
    from xslams.inference.arrays import encode_arrays

    return encode_arrays(model, fields, fraction, device=device)


def _decode(z: FloatArray, fraction: FloatArray, *, model: Model, device: str | None) -> npt.NDArray[np.float32]:
    from xslams.inference.arrays import decode_arrays

    return decode_arrays(model, z, fraction, device=device)


def _assimilate_segment(
    model: Model,
    sources: Sequence[Observation],
    background: Observation | None,
    time: xr.DataArray,
    segment: Segment,
    settings: dict[str, Any],
    *,
    progress: bool = False,
    strict: bool = False,
    report: bool = False,
) -> tuple[npt.NDArray[np.float32], FloatArray]:
    """Analyse one segment and cut its overlap off, and sum up its observations if asked to."""
    from xslams.inference.arrays import assimilate_arrays

    model = workers.resident(model)
    spec = model.spec
    frames = time.isel({time.dims[0]: slice(segment.start, segment.stop)})
    arrays, guesses = _screened(model, sources, background, time, segment, strict=strict, report=report)
    # The prior sees no fewer frames than its window; what is added to a shorter segment is not observed.
    before, after = divmod(max(spec.window - frames.size, 0), 2)
    before, after = before + after, before
    fraction, labels = _extend(frames, before, after, spec.time_step)
    count = sum(source.values.size for source in arrays)
    # Without observations there is nothing to report.
    predicted = np.empty((len(settings["members"]), count)) if report and arrays else None
    values = assimilate_arrays(
        model,
        year_fraction=fraction,
        labels=labels,
        sources=[_embed(source, before, after, frames.size) for source in arrays],
        progress=progress,
        predicted=predicted,
        **settings,
    )
    block = values[:, before : values.shape[1] - after][:, segment.kept]
    if predicted is None:
        return block, np.zeros((0, len(observations.COLUMNS)))
    ends = np.cumsum([source.values.size for source in arrays])[:-1]
    each = [
        observations.statistics(*part) for part in zip(arrays, guesses, np.split(predicted, ends, axis=1), strict=True)
    ]
    return block, np.reshape(each, (len(each), len(observations.COLUMNS)))


def _screened(
    model: Model,
    sources: Sequence[Observation],
    background: Observation | None,
    time: xr.DataArray,
    segment: Segment,
    *,
    strict: bool,
    report: bool,
) -> tuple[list[SourceArrays], list[observations.Guess]]:
    """Likelihoods of all variables of all sources, the background last, and what is expected of them if need be."""
    frames = time.isel({time.dims[0]: slice(segment.start, segment.stop)})
    owner = observations.Owner(time, segment.first, segment.last) if report else None
    parts = [p for s in sources for p in s.to_parts(model.spec, frames, strict=strict, owner=owner)]
    behind = [] if background is None else background.to_parts(model.spec, frames, strict=strict, owner=owner)
    fraction = schema.year_fraction(frames)
    if any(p.subgrid is not None for p in parts):
        from xslams.inference.arrays import variogram_arrays

        variogram = variogram_arrays(model, fraction)
        parts = [observations.subgrid(p, variogram) for p in parts]
    if not report and all(p.background_check is None for p in parts):
        return [*(observations.reduced(p) for p in parts), *behind], []
    from xslams.inference.arrays import climatology_arrays, observe_arrays

    climatology = climatology_arrays(model, fraction)
    mean, std = observations.first_guess(*climatology, behind)
    seen = [(mean, std) if p.function is None else observe_arrays(model, p.function, mean, std) for p in parts]
    checked = []
    for part, fields in zip(parts, seen, strict=True):
        left = observations.background_check(part, observations.innovations(part, *fields))
        if strict and part.values.size and not left.values.size:
            observations.warn(
                f"Source {part.name!r}: all {part.values.size} values are further than {part.background_check:g} "
                "standard deviations from the first guess and are rejected. Check units and levels, or raise "
                "background_check=."
            )
        # Only now: a mean over good and bad values is no better than a bad one.
        checked.append(observations.reduced(left))
    guesses = [observations.innovations(p, *fields) for p, fields in zip(checked, seen, strict=True)]
    # The background is judged by climatology alone.
    return [*checked, *behind], [*guesses, *(observations.innovations(p, *climatology) for p in behind)]


def _extend(frames: xr.DataArray, before: int, after: int, step: float) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Fraction of the year and label of every frame, and of frames before and after them."""
    fraction, labels = schema.year_fraction(frames), schema.time_labels(frames)
    if not before + after:
        return fraction, labels
    hours = np.arange(-before, frames.size + after) * step
    # A year is as long as the fraction counts it; near enough for the season of frames that are thrown away.
    return (fraction[0] + hours / (24 * 365.25)) % 1.0, np.rint(schema.hours(frames)[0] + hours).astype(np.int64)


def _embed(source: SourceArrays, before: int, after: int, frames: int) -> SourceArrays:
    """Let an operator on some frames act on a trajectory with more of them."""
    if not before + after:
        return source
    operator = source.operator
    size = operator.shape[1] // frames
    shape = operator.shape[0], operator.shape[1] + (before + after) * size
    indices = operator.indices.astype(np.int64) + before * size
    return replace(source, operator=type(operator)((operator.data, indices, operator.indptr), shape=shape))


def _lazy(
    model: Model,
    sources: Sequence[Observation],
    backgrounds: Sequence[Observation | None],
    time: xr.DataArray,
    cut: Sequence[Segment],
    settings: dict[str, Any],
    shape: tuple[int, ...],
    *,
    report: bool,
) -> tuple[Any, Any]:
    """Make a dask array with blocks of a segment and some members; in its graph the model is a handle.

    What `report` asks for comes out of the same call as the block, so that both are computed at once.
    """
    import dask.array as da
    from dask.delayed import delayed

    handle = delayed(model, pure=True, traverse=False)
    axis = delayed(time, pure=True, traverse=False)
    run = delayed(_assimilate_segment, pure=True, traverse=False)
    blocks, tables = [], []
    rows = len(_labels(model.spec, sources, backgrounds[0] if backgrounds else None)[0]) if report else 0
    meta = np.empty((0,) * len(shape), np.float32)
    # A report needs mean and spread of all members at every value, squared and compared with limits there: sums over
    # groups of members would not add up to it. So a segment stays in one piece.
    each = 0 if report else 4 * SEGMENT * math.prod(shape[2:])
    groups = _groups(settings["members"], each)
    for segment, background in zip(cut, backgrounds, strict=True):
        near = [_deferred(s) for s in _seen(sources, time, segment, model.spec, len(cut), report=report)]
        behind = None if background is None else _deferred(background)
        column = []
        for members in groups:
            both = run(handle, near, behind, axis, segment, settings | {"members": members}, report=report)
            part = (len(members), segment.last - segment.first, *shape[2:])
            column.append(da.from_delayed(both[0], part, dtype=np.float32, meta=meta))  # type: ignore[no-untyped-call]
            if rows:
                size = rows, len(observations.COLUMNS)
                tables.append(da.from_delayed(both[1], size, dtype=np.float64, meta=np.empty((0, 0))))  # type: ignore[no-untyped-call]
        blocks.append(da.concatenate(column, axis=0))  # type: ignore[no-untyped-call]
    # Without sources there is nothing to compute for the report.
    sums = da.stack(tables) if rows else np.zeros((len(cut), 0, len(observations.COLUMNS)))  # type: ignore[no-untyped-call]
    return da.concatenate(blocks, axis=1), sums  # type: ignore[no-untyped-call]


def _seen(
    sources: Sequence[Observation],
    time: xr.DataArray,
    segment: Segment,
    spec: Spec,
    segments: int,
    *,
    report: bool = False,
) -> list[Observation]:
    """Leave out of sources what only other segments see; a period in one piece sees all."""
    # What no frame sees is counted by the first segment, see `Observation._owned`: for a report it has to have it.
    if segments == 1 or (report and segment.first == 0):
        return list(sources)
    frames = time.isel({time.dims[0]: slice(segment.start, segment.stop)})
    return [observations.around(source, frames, spec.time_step) for source in sources]


def _groups(members: Sequence[int], each: int) -> list[tuple[int, ...]]:
    """Members that share a block, which holds `each` bytes of one; as many as stay below the limit, evenly."""
    count = -(-len(members) // max(_BLOCK_BYTES // each, 1)) if each else 1
    return [tuple(int(m) for m in part) for part in np.array_split(np.asarray(members), count)]


def _deferred(source: Observation) -> Any:
    """Make a source one node of a graph; what is lazy in it is computed before the node is used."""
    from dask.base import is_dask_collection
    from dask.delayed import delayed

    lazy = {k: v for k in ("data", "error") if is_dask_collection(v := getattr(source, k))}
    if not lazy:
        return delayed(source, pure=True, traverse=False)
    bare = delayed(source.replace(**dict.fromkeys(lazy)), pure=True, traverse=False)
    return delayed(_refill, pure=True)(bare, **lazy)


def _refill(source: Observation, **computed: Any) -> Observation:
    return source.replace(**computed)


def _is_lazy(ds: xr.Dataset) -> bool:
    return any(da.chunks is not None for da in ds.data_vars.values())


def _template(ds: xr.Dataset) -> xr.Dataset:
    """Coordinates of the analysis, without anything that could be computed or used."""
    names = [schema.coordinate(ds, kind) for kind in ("time", "lat", "lon")]
    return xr.Dataset(coords={n: ds[n].reset_coords(drop=True).compute() for n in names if n is not None})


def _open(model: str | os.PathLike[str] | Model) -> Model:
    """Open a model of gridded fields; those of a system have other dimensions."""
    opened = zoo.open_model(model)
    if opened.spec.system:
        msg = (
            f"The model {opened.spec.name!r} is of the system {opened.spec.system.get('name')}, which has no "
            "latitudes, longitudes and dates; expected one of gridded fields, such as 'speedy-t30'. Draw from it "
            "with xslams.inference: prior_of(model, length=...) and sample_posterior(...)."
        )
        raise ModelError(msg)
    return opened


def _choose(spec: Spec, variables: Sequence[str] | None) -> list[str]:
    """Names of the state variables to return."""
    known = [v.name for v in spec.state]
    chosen = known if variables is None else [variables] if isinstance(variables, str) else list(variables)
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        msg = f"variables={variables!r}: the state of the model has {known}; auxiliary variables are not analysed."
        raise VariableError(msg)
    return chosen


def _is_count(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and int(value) >= 0


def _require(holds: bool, name: str, got: object, expected: str) -> None:
    if not holds:
        msg = f"{name}={got!r}; expected {expected}."
        raise OptionError(msg)


def _brief(value: object) -> str:
    """Short text for an attribute; fields are only named."""
    return f"<{type(value).__name__}>" if isinstance(value, xr.DataArray | xr.Dataset) else str(value)


def _provenance(ds: xr.Dataset, model: Model, verb: str, **settings: Any) -> dict[str, Any]:
    """Global attributes that say what made a result, in the style of CF."""
    from xslams import __version__

    now = np.datetime_as_string(np.datetime64("now"), "s")
    call = ", ".join(f"{k}={v!r}" for k, v in {"model": model.spec.name, **settings}.items())
    before = f"{ds.attrs['history']}\n" if ds.attrs.get("history") else ""
    attrs = {
        "Conventions": "CF-1.11",
        "history": f"{before}{now}Z xslams {__version__}: {verb}({call})",
        "xslams_version": __version__,
        "xslams_model": model.spec.name,
        "xslams_model_sha256": model.sha256,
    }
    # netCDF has no booleans.
    plain = {k: int(v) if isinstance(v, bool) else v for k, v in settings.items()}
    return attrs | {f"xslams_{k}": v if isinstance(v, int | float | str) else str(v) for k, v in plain.items()}
