"""The ``.slams`` accessor on Dataset and DataArray: every method delegates, none keeps state or changes its object."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xslams.display import Markup, cell, page
from xslams.labels.calendar import without_zones
from xslams.options import ComputeOptions, SamplerOptions

if TYPE_CHECKING:
    import os

    from xslams.diagnostics import Diagnosis
    from xslams.inference.guidance import Guidance
    from xslams.inference.samplers import Sampler
    from xslams.model import Model
    from xslams.observations import BackgroundError
    from xslams.observations.observation import ObservationsLike
    from xslams.pipeline.training_data import Aux
    from xslams.plot.plotter import Plotter
    from xslams.regrid import Target
    from xslams.typing import Edges, Engine, GuidanceName, Method, Precision, SamplerName

__all__ = ["SlamsAccessor"]


@xr.register_dataarray_accessor("slams")  # type: ignore[no-untyped-call]
@xr.register_dataset_accessor("slams")  # type: ignore[no-untyped-call]
class SlamsAccessor:
    """Data assimilation with a learned prior, on any Dataset or DataArray with time, latitude and longitude.

    Its repr shows what was recognised and what is missing. A DataArray counts as a Dataset of one variable, and its
    results are Datasets, but for `regrid`.

    Parameters
    ----------
    obj
        What ``.slams`` is called on.

    Examples
    --------
    >>> import xslams
    >>> xslams.open_tutorial().slams
    <xslams accessor>
    variables  t (K), pr (mm day-1), olr (W m-2)
    time       60 frames every 24 h, 2003-12-15 to 2004-02-12
    level      sigma: 8 values, 0.95 to 0.025
    grid       48 x 96 (lat -87.1591 to 87.1591, lon 0 to 356.25, periodic)
    missing    nothing
    """

    def __init__(self, obj: xr.Dataset | xr.DataArray) -> None:
        self._obj = obj

    @property
    def _ds(self) -> xr.Dataset:
        if isinstance(self._obj, xr.Dataset):
            return without_zones(self._obj)
        return without_zones(self._obj.to_dataset(name="values" if self._obj.name is None else None))

    def encode(self, model: Model | str | os.PathLike[str] | None = None, *, device: str | None = None) -> xr.Dataset:
        """Encode every frame into the latent space of a model.

        Parameters
        ----------
        model
            Model, name or path; by default the one known model that fits variables and grid, as for `assimilate`.
        device
            Where torch computes, "cpu" or "cuda"; by default wherever it is fastest.

        Returns
        -------
        Dataset
            Variable ``latent`` with dimensions (time, latent_channel, latent_lat, latent_lon), near unit scale, and
            coordinates of latent cells; lazy where the Dataset is.
        """
        from xslams.pipeline.encoding import encode

        return encode(self._ds, model, device=device)

    def decode(self, model: Model | str | os.PathLike[str] | None = None, *, device: str | None = None) -> xr.Dataset:
        """Decode latent frames into every variable of a model.

        Parameters
        ----------
        model
            Model, name or path; by default the one that encoded.
        device
            Where torch computes, "cpu" or "cuda"; by default wherever it is fastest.

        Returns
        -------
        Dataset
            State and auxiliary variables; lazy where the Dataset is.
        """
        from xslams.pipeline.encoding import decode

        return decode(self._ds, model, device=device)

    def regrid(
        self,
        target: Target,
        method: Method = "bilinear",
        engine: Engine = "auto",
        *,
        edges: Edges = "great_circle",
    ) -> xr.Dataset | xr.DataArray:
        """Bring every variable to another grid, or to points.

        Parameters
        ----------
        target
            Dataset or DataArray with the latitudes and longitudes wanted (grid, curvilinear grid, swath or points), or
            a Model.
        method
            "bilinear", "conservative" or "nearest".
        engine
            "embedded", "xesmf", or "auto", which is the embedded one: its weights are defined as ESMF's are.
        edges
            "great_circle", as in ESMF, or "parallel", as in CDO.

        Returns
        -------
        Dataset or DataArray
            What the accessor was called on, on the new grid; lazy where it is.
        """
        from xslams import regrid

        if isinstance(self._obj, xr.DataArray):
            return regrid.regrid(self._obj, target, method=method, engine=engine, edges=edges)
        return regrid.regrid(self._obj, target, method=method, engine=engine, edges=edges)

    def fit(
        self,
        /,
        aux: Aux = None,
        *,
        window: int = 5,
        latent_channels: int | None = None,
        epochs: int | None = None,
        budget: str | float | None = "5min",
        device: str | None = None,
        seed: int = 0,
        progress: bool | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        log: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> Model:
        """Train a model: autoencoder, decoder heads, and the prior over windows of latent frames.

        Settings that are not given are chosen by cross-validation: blocks of 30 days are left out in turn, a few of
        their cells are observed, and a setting is kept if it lowers the CRPS of the state there by more than its
        standard error. ``model.spec.training["trials"]`` is the table of what was tried.

        Cells in which a state variable never has a value, such as land in data of the ocean, are masked: they are NaN
        in analyses, whatever a background has there, and what mostly observes such cells is dropped.

        A Dataset without latitudes whose time is a number is that of a system on axes of its own, as those of
        `xslams.systems`; trajectories along ``trajectory`` are independent of each other.

        Parameters
        ----------
        aux
            Auxiliary variables, which are observed but not analysed: a Dataset or DataArray on the same grid, or names
            of variables of this Dataset. Precipitation is transformed to be closer to a Gaussian. Or Observations at
            their own places, of which operators are learned, see `xslams.learn_operator`.
        window
            Number of frames that the prior sees at once; odd.
        latent_channels
            Channels of the latent space; by default chosen by the size of the state.
        epochs
            Passes of the score network over the data; 0 leaves the Gaussian prior alone. By default a network is tried
            where there are data and time for one, and kept if it denoises held-out frames better.
        budget
            Time for trials and training, such as ``"5min"`` or ``"2h"``, or seconds. It bounds what is tried; None or
            0 tries nothing. What was chosen, given again, leads to the same weights in any time.
        device
            Where torch computes, "cpu" or "cuda"; by default wherever it is fastest.
        seed
            Makes the training repeatable on the same machine.
        progress
            Show progress bars: the stage, the score on held-out frames (1 is the climatology), and the time left. By
            default in a terminal or notebook, and not in batch jobs, pipes and tasks of dask.
        checkpoint
            A ``.safetensors`` file that is kept up to date while the training runs, and from which the same call goes
            on after an interruption. One of other data or settings is refused.
        log
            A ``.csv`` file, or a folder for event files of TensorBoard: losses, learning rates, and scores on frames
            held out, where 1 is the climatology.
        **options
            ``name``, ``summary`` and ``license`` of the model, and settings of `xslams.options.TrainingOptions`.

        Returns
        -------
        Model
            In memory; save it with ``model.save("name.safetensors")``.
        """
        from xslams.pipeline.fitting import fit

        return fit(
            self._ds, aux, window=window, latent_channels=latent_channels, epochs=epochs, budget=budget, device=device,
            seed=seed, progress=progress, checkpoint=checkpoint, log=log, **options,
        )  # fmt: skip

    def assimilate(
        self,
        obs: ObservationsLike,
        model: Model | str | os.PathLike[str] | None = None,
        *,
        members: int = 16,
        background_error: float | Mapping[str, Any] | xr.DataArray | BackgroundError | None = None,
        guidance: GuidanceName | str | Guidance = SamplerOptions.guidance,
        sampler: SamplerName | str | Sampler = SamplerOptions.sampler,
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
        """Draw an ensemble of states from the model's posterior given observations.

        Parameters
        ----------
        obs
            An Observation, DataArray or Dataset, or a list of them, each on its own grid or points.
        model
            Model, name or path. By default the one of `xslams.list_models` whose state is in this Dataset, on its grid
            and with its time step; where none fits, or several do, the error lists them and says why.
        members
            Size of the ensemble.
        background_error
            None: this Dataset gives grid and times only, and its values are not used. A number, a mapping from variable
            to number, or a DataArray, as root mean square error in physical units: its values are one more source, with
            errors like differences between two states of the model; or a `BackgroundError`, which says more. Where this
            Dataset has a dimension of members, their mean is the background, with the localised covariance of the
            members and a static one, whose standard deviation is this or, with None, their spread at every place.
        guidance
            "mmps", "sda" or "dps": how observations steer the sampler; or a guidance with its settings.
        sampler
            How the reverse diffusion is integrated; "auto" takes what is best calibrated at this number of steps. Or a
            sampler with its settings.
        steps
            Steps from noise to state; the score network is called once in each ("heun" takes half as many steps of two
            calls). A model without a network needs none, unless a sampler, guidance, corrections, heavy tails, normal
            scores or an operator that is a function ask for it.
        corrections
            Langevin corrections after each step, for posteriors with several modes.
        antithetic
            Members 2k and 2k + 1 start from noises of opposite sign. Each is a draw as any other, but the sampling
            errors of a pair nearly cancel in the ensemble mean: as good as that of many times more members.
            `score` knows of the pairs.
        overlap
            Frames computed and thrown away at both ends of each analysis window; "auto": one window less one.
        variables
            State variables to return; by default all.
        seed
            Two calls with the same seed give the same ensemble, whatever the chunks, and members keep their noise when
            there are more of them.
        device
            Where torch computes, "cpu" or "cuda"; by default wherever it is fastest.
        batch_size
            Members sampled at once on a GPU; "auto" takes as many as fit its memory, and halves that where it runs out.
            A CPU takes one per thread.
        precision
            "float32", or "bf16": the score network in bfloat16, faster on GPUs that have it, at the price of rounding.
        compile
            Compile the score network with `torch.compile`: a minute at the beginning, for runs of hours.
        progress
            Show a progress bar with frames done, network calls and the time left; by default in a terminal or notebook,
            and not in batch jobs, pipes and tasks of dask. Lazy results use dask's own instead.
        report
            Carry a report on the observations along, in coordinates whose names begin with ``obs_``, which `report`
            takes out. It is computed together with the analysis, and stored with it.
        engine
            What builds the weights of cells for observations and background: "embedded", "xesmf", or "auto", which is
            the embedded one. An Observation with an engine of its own keeps that.

        Returns
        -------
        Dataset
            State variables with dimensions (member, time, [level,] lat, lon); lazy where this Dataset is dask-backed.

        Examples
        --------
        >>> import xslams
        >>> truth = xslams.open_tutorial().isel(time=slice(0, 3))
        >>> satellite = xslams.simulate_observations(truth["olr"], coarsen={"lat": 2, "lon": 2}, error=5.0)
        >>> analysis = truth.slams.assimilate([satellite], "speedy-t30", members=2, steps=4)
        >>> dict(analysis["t"].sizes)
        {'member': 2, 'time': 3, 'sigma': 8, 'lat': 48, 'lon': 96}
        """
        from xslams.pipeline.assimilate import assimilate

        return assimilate(
            self._ds, obs, model, members=members, background_error=background_error, guidance=guidance,
            sampler=sampler, steps=steps, corrections=corrections, antithetic=antithetic, overlap=overlap,
            variables=variables, seed=seed, device=device, batch_size=batch_size, precision=precision,
            compile=compile, progress=progress, report=report, engine=engine,
        )  # fmt: skip

    def to_zarr(
        self,
        store: str | os.PathLike[str],
        *,
        resume: bool = False,
        progress: bool | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> xr.Dataset:
        """Compute a lazy analysis into a zarr store, block by block; a run that was killed goes on where it was.

        Each block of the result is written whole, or counts as missing. Whatever happens in between, the same command
        with ``resume=True`` computes what is missing, and the store ends as that of an undisturbed run.

        Parameters
        ----------
        store
            Path, or URL of an object store.
        resume
            Go on with what is there, if anything; it must belong to the same model, seed, observations and settings.
            What is there is read, and damaged blocks are computed again.
        progress
            Show a progress bar with frames done and the time left, and network calls where this process computes; by
            default in a terminal or notebook.
        storage_options
            Options of the file system of a URL.

        Returns
        -------
        Dataset
            What the store holds, lazy.

        Raises
        ------
        StoreError
            If something else is there, or writing fails.
        """
        from xslams.pipeline.store import write

        return write(self._ds, store, resume=resume, progress=progress, storage_options=storage_options)

    def check(
        self,
        obs: ObservationsLike,
        model: Model | str | os.PathLike[str] | None = None,
        *,
        background_error: float | Mapping[str, Any] | xr.DataArray | BackgroundError | None = None,
        engine: Engine = "auto",
    ) -> xr.Dataset:
        """Report what would become of observations, and how they fit the first guess, before any analysis.

        Parameters
        ----------
        obs, model, background_error, engine
            As for `assimilate`. The first guess is the model's climatology, or what becomes of it given the background.

        Returns
        -------
        Dataset
            Counts of values that are given, used and rejected by reason, and statistics of innovations, of every
            source; see `report`.

        Examples
        --------
        >>> import xslams
        >>> truth = xslams.open_tutorial().isel(time=slice(0, 3))
        >>> satellite = xslams.simulate_observations(truth["olr"], coarsen={"lat": 2, "lon": 2}, error=5.0)
        >>> checked = truth.slams.check(satellite, "speedy-t30")
        >>> int(checked["given"].sel(source="olr")), int(checked["used"].sel(source="olr"))
        (3456, 3456)
        """
        from xslams.pipeline.check import check

        return check(self._ds, obs, model, background_error=background_error, engine=engine)

    def report(self) -> xr.Dataset:
        """Report what became of the observations of this analysis.

        Returns
        -------
        Dataset
            For every source: values ``given``, ``used`` and ``rejected`` (by ``reason``); number of values in the
            ``likelihood`` once averaged; how many of these a robust likelihood has ``downweighted``; root mean square
            of their ``error`` as stated; mean ``bias`` where one was estimated; and before and after the analysis
            (``stage``) mean and standard deviation of innovations, ``expected_std`` of the latter if all errors are
            what they are said to be, and ``spread`` of what was predicted. ``estimated_error`` is what the innovations
            tell of the errors, after Desroziers et al. (2005), and ``advice`` says what to change. Of the whole,
            ``solver_error``: the largest error of the solver in standard deviations of the analysis. Lazy where the
            analysis is, and then to be computed with it: ``dask.compute(analysis, report)``.

        Raises
        ------
        VariableError
            If the analysis was made without ``report=True``.
        """
        from xslams.pipeline.report import report

        return report(self._ds)

    def score(
        self,
        truth: xr.Dataset | xr.DataArray,
        *,
        dims: Sequence[Hashable] | None = None,
        uncertainty: bool = False,
    ) -> xr.Dataset:
        """Score an analysis against the truth, weighted by area.

        Parameters
        ----------
        truth
            Fields on the same grid; times are matched.
        dims
            Dimensions to average over; by default time and the horizontal ones, so that levels stay.
        uncertainty
            Also return the sampling error of scores (``rmse_uncertainty``), by a bootstrap of blocks of times.

        Returns
        -------
        Dataset
            ``rmse``, ``bias``, ``crps``, ``spread``, ``spread_skill``, ``rank_histogram`` and ``wasserstein``, as
            `xslams.scores` defines them; with the variable's name in front (``t_rmse``) where several are scored.
        """
        from xslams import scores

        return scores.score(self._obj, truth, dims=dims, uncertainty=uncertainty)

    def diagnose(
        self,
        obs: ObservationsLike | None = None,
        truth: xr.Dataset | xr.DataArray | None = None,
        *,
        model: Model | str | os.PathLike[str] | None = None,
        background: xr.Dataset | None = None,
    ) -> Diagnosis:
        """Say in words whether an ensemble is calibrated, its observations have the stated errors, and what to change.

        Parameters
        ----------
        obs
            What was assimilated, with its errors: chi-square, an estimate of the error (Desroziers) and the degrees of
            freedom for signal of every source. By default what the report says of an analysis that carries one.
        truth
            Fields to compare with: a test of the rank histogram and the ratio of spread and error, by level.
        model
            Model of the analysis; by default the one that it names.
        background
            What the analysis started from, which makes estimates of errors better.

        Returns
        -------
        Diagnosis
            Print it; ``to_dataset()`` and ``to_dict()`` are for programs.

        Raises
        ------
        VariableError
            If there are fewer than two members, or variables of the state are missing.
        ModelError
            If the analysis does not name its model, and none is given.
        """
        from xslams.diagnostics import diagnose

        return diagnose(self._ds, obs, truth, model=model, background=background)

    def impact(
        self,
        obs: ObservationsLike,
        truth: xr.Dataset | xr.DataArray | None = None,
        *,
        model: Model | str | os.PathLike[str] | None = None,
        leave_one_out: bool = False,
    ) -> xr.Dataset:
        """Say what each source of observations is worth, from the spread of the analysis and without another run.

        Parameters
        ----------
        obs
            What was assimilated, with its errors.
        truth
            Fields to compare with, for `leave_one_out`.
        model
            Model of the analysis; by default the one that it names.
        leave_one_out
            Also run the analysis again without each source, with its members, steps and seed.

        Returns
        -------
        Dataset
            By source ``values``, ``signal`` (degrees of freedom for signal) and ``share`` of all that was learned; with
            `leave_one_out` by ``left_out`` source how many times as large spread and error are without it
            (``t_spread_ratio``, ``t_rmse_ratio``).
        """
        from xslams.diagnostics import impact

        return impact(self._ds, obs, truth, model=model, leave_one_out=leave_one_out)

    @property
    def plot(self) -> Plotter:
        """Plots: ``plot(truth, obs)`` draws what suits the analysis, and ``plot.NAME(...)`` one kind.

        Kinds are "maps", "hovmoeller" and "series", of which ``plot()`` takes one, and "mean", "spread", "error",
        "increment", "members", "panel", "spread_skill", "rank_histogram", "spectra" and "innovations"; and what others
        have registered. All take the arguments of `xslams.plot.panels`: ``truth``, ``obs``, ``background``,
        ``variable``, ``time``, ``level``, ``row``, ``col``, ``ax``, ``figsize``.

        Returns
        -------
        Plotter
            What draws, and returns a matplotlib figure.
        """
        from xslams.plot.plotter import Plotter

        return Plotter(self._ds)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]

    def __repr__(self) -> str:
        rows = self._recognised()
        return "\n".join(["<xslams accessor>", *(f"{name:<10} {text}" for name, text in rows)])

    def _repr_html_(self) -> str:
        # A name may come up more than once, so that this is no mapping.
        rows = (f"<tr><th>{cell(name)}</th><td>{cell(text)}</td></tr>" for name, text in self._recognised())
        return page("xslams accessor", "", [Markup(f"<table>{''.join(rows)}</table>")], repr(self))

    def _recognised(self) -> list[tuple[str, str]]:
        """Rows of the repr; the coordinates alone are read."""
        from xslams.labels.recognise import inspect

        ds = self._ds
        found = inspect(ds)
        rows = [("variables", ", ".join(f"{n} ({ds[n].attrs.get('units', 'no units')})" for n in found.variables))]
        if found.time is not None:
            step = f" every {found.time_step:g} h" if found.time_step else " every month" if found.monthly else ""
            count = ds[found.time].size
            gaps = f" in {found.stretches} stretches" if found.stretches > 1 else ""
            rows.append(("time", f"{count} frame{'s' * (count != 1)}{step}{gaps}, {_span(ds[found.time])}"))
        if found.level is not None:
            unit = ds[found.level].attrs.get("units", "1")
            span = f"{_span(ds[found.level])}{'' if unit == '1' else f' {unit}'}"
            rows.append(("level", f"{found.level}: {ds[found.level].size} values, {span}"))
        if found.grid is not None:
            repeated = ds.sizes[found.grid.lon_dim] - found.grid.shape[1]
            more = f", and {repeated} repeated column{'s' * (repeated > 1)}" if repeated else ""
            rows.append(("grid", f"{found.grid}{more}"))
        elif found.lat is not None and found.lon is not None and ds[found.lat].dims == ds[found.lon].dims:
            lat, lon = ds[found.lat], ds[found.lon]
            rows.append(
                ("points", f"{lat.size} (lat {_span(lat.min(), lat.max())}, lon {_span(lon.min(), lon.max())})")
            )
        rows += [("missing" if problem.startswith("no ") else "problem", problem) for problem in found.problems]
        if not found.problems:
            rows.append(("missing", "nothing"))
        return [(name, text or "none") for name, text in rows]


def _span(*ends: xr.DataArray) -> str:
    """First and last value, as short as they can be said."""
    values = [v for end in ends for v in end.values.ravel()[[0, -1] if end.size else []]]
    text = [
        f"{v:g}" if isinstance(v, float | int | np.number) else str(v)[:16].removesuffix("T00:00")
        for v in values[:: max(len(values) - 1, 1)]
    ]
    return " to ".join(text) or "empty"
