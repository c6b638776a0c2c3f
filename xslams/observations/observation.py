"""What a user gives: a source of observations with its error, and what to do with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, get_args

import numpy as np
import pandas as pd
import xarray as xr

from xslams.arguments import is_names, is_number, require_text, shown
from xslams.display import Section, attributes, cell, page, settings
from xslams.errors import ObservationError, ObservationOptionError
from xslams.labels.coordinates import listed
from xslams.labels.frames import Frames
from xslams.learned import LearnedOperator
from xslams.likelihood import SourceLikelihood
from xslams.observations.belonging import ancillary
from xslams.observations.bound import BoundSource
from xslams.observations.error_covariance import ErrorCovariance, require_compatible, without_covariance
from xslams.observations.footprints import Footprints
from xslams.observations.operators import OPERATORS
from xslams.observations.quality import QualityControl
from xslams.observations.reading import as_dataset
from xslams.observations.stated_errors import Error, check_stated
from xslams.spec import Spec
from xslams.typing import Engine, FieldFunction, Method
from xslams.weights import ENGINES

__all__ = ["Observation", "ObservationsLike", "as_observations", "check_settings", "lacks_errors"]

_METHODS = get_args(Method)
# As many variables of a Dataset make its name.
_MANY = 6
_REPLACEABLE = {"data", "variable", "error", "operator", "method", "tolerance", "qc", "name", "engine", "footprints"}


class Observation:
    """A source of observations on its own grid or at points, with its error.

    Parameters
    ----------
    data
        What was measured: dimensions may be time, a level, and latitude and longitude (a grid) or anything on which
        latitude and longitude depend (stations, tracks, curvilinear grids). Missing values are NaN. Needs units.
    variable
        Which variables of `data` to use: a name, several, or a mapping of names in the data to names in the model. By
        default all that the model has, by standard name or name.
    error
        Standard deviation of the error, of instrument and representativeness, **in the units of the data**: a number, a
        mapping per variable, or a DataArray with some of the dimensions of the data, and ``month`` or another part of
        the date where it varies with it. A value whose error is NaN is not used. Zero stands for a thousandth of the
        spread of the values. By default the variable with standard name ``... standard_error`` that
        ``ancillary_variables`` names, or one that is called after the data (``TEMP_ERROR``). Where there is none, or
        with ``"auto"``, `assimilate` takes the one of largest likelihood of the innovations under the prior. Errors are
        independent from value to value, unless an `ErrorCovariance` says how they are correlated.
    operator
        What the instrument sees of the state, where that is no variable of the model: a function of physical fields (or
        the name of one that is registered in `xslams.observations.OPERATORS`),
        a mapping from the name of every variable of the model to a torch tensor of shape (batch, time, [level,] lat,
        lon) in the model's units, that returns a tensor of shape (batch, time, lat, lon) in the units of the data, or
        in those that its attribute ``units`` names. It has to be differentiable; see `xslams.testing.check_adjoint`. Or
        what `xslams.learn_operator` returns, which brings bias and errors of its own.
    method
        How a value relates to the model's grid: ``"bilinear"`` interpolates to its place, ``"nearest"`` takes the cell
        that holds it, ``"conservative"`` averages over the cells of a gridded source (their bounds, or half way
        between).
    tolerance
        Hours between the stamps of a value and of its frame, as a number or as ``"3h"``. By default a value observes
        the frame in whose period it lies, or where frames are instants the nearest one, at most half a step away.
        Averages observe the frames that they overlap, see `xslams.observations.temporal`.
    qc
        Quality control: a `QualityControl`, or a dict of its attributes.
    name
        Name of the source, for messages; by default that of the variable.
    engine
        What builds the weights of the model's cells: ``"embedded"``, ``"xesmf"``, or ``"auto"``, which is the embedded
        one, as in `xslams.regrid.regrid`.

    Raises
    ------
    ObservationOptionError
        If an argument is out of range or not of its type: an `ObservationError` and an `OptionError`.
    OptionError
        If no operator of that name is registered.

    Examples
    --------
    >>> import numpy as np, pandas as pd, xarray as xr, xslams
    >>> stations = xr.DataArray(
    ...     [[21.5, np.nan]],
    ...     dims=("time", "station"),
    ...     coords={
    ...         "time": pd.date_range("2014-07-01", periods=1),
    ...         "lat": ("station", [40.0, 47.5]),
    ...         "lon": ("station", [-105.2, -120.0]),
    ...     },
    ...     name="tavg",
    ...     attrs={"units": "degC", "standard_name": "air_temperature"},
    ... )
    >>> xslams.Observation(stations, error=1.5, name="USCRN")
    <xslams.Observation 'USCRN': tavg [degC] (time: 1, station: 2), method bilinear, error 1.5>
    """

    def __init__(
        self,
        data: xr.DataArray | xr.Dataset,
        variable: str | Sequence[str] | Mapping[str, str] | None = None,
        error: Error | ErrorCovariance | None = None,
        operator: FieldFunction | LearnedOperator | str | None = None,
        method: Method = "bilinear",
        tolerance: float | str | pd.Timedelta | np.timedelta64 | None = None,
        qc: QualityControl | Mapping[str, Any] | None = None,
        name: str | None = None,
        engine: Engine = "auto",
    ) -> None:
        # As an object: the annotation says what is allowed, and users pass something else all the same.
        unchecked: object = data
        if not isinstance(unchecked, xr.DataArray | xr.Dataset):
            msg = (
                f"An Observation needs an xarray DataArray or Dataset; got {type(data).__name__}. Wrap the values with "
                "coordinates of time and place; a table with a row for each report: "
                "table.to_xarray().set_coords(['time', 'lat', 'lon'])."
            )
            raise ObservationOptionError(msg)
        check_settings(variable, error, method, tolerance, name, engine)
        self.data = data
        self.variable = variable
        self.error = error
        self.operator, self.learned = _operator(operator)
        self.method: Method = method
        self.engine: Engine = engine
        self.tolerance = _as_hours(tolerance)
        self.qc = QualityControl.of(qc)
        require_compatible(error, self.qc)
        self.name = name if name is not None else _default_name(data, variable)
        # Where data were made of cells of a known grid, see `simulate_observations`.
        self.footprints: Footprints | None = None

    def replace(self, **changes: Any) -> Observation:
        """Copy with other data, variable, error, operator, method, tolerance, qc, name or engine.

        Parameters
        ----------
        **changes
            Attributes to set.

        Returns
        -------
        Observation
            The copy, which keeps everything else, the exact footprints of simulated observations included.
        """
        if unknown := set(changes) - _REPLACEABLE:
            known = listed(sorted(_REPLACEABLE))
            msg = f"An Observation has no {listed(sorted(unknown))} to replace; choose from {known}."
            raise ObservationError(msg)
        names = ("variable", "error", "method", "tolerance", "name", "engine")
        check_settings(*(changes.get(name, getattr(self, name)) for name in names))
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, **changes)
        if "operator" in changes:
            other.operator, other.learned = _operator(changes["operator"])
        other.tolerance = _as_hours(other.tolerance)
        other.qc = QualityControl.of(other.qc)
        require_compatible(other.error, other.qc)
        return other

    def __repr__(self) -> str:
        ds = as_dataset(self.data)
        names = [str(n) for n in ds.data_vars]
        if isinstance(self.variable, str):
            names = [self.variable] if self.variable in names else names
        elif self.variable is not None:
            names = [n for n in self.variable if n in names]
        fields = ", ".join(f"{n} [{ds[n].attrs.get('units', 'no units')}]" for n in names[:4]) + (
            ", ..." if len(names) > 4 else ""
        )
        sizes = ", ".join(f"{d}: {n}" for d, n in (ds[names[0]].sizes if names else ds.sizes).items())
        error = f"{self.error:g}" if isinstance(self.error, float | int) else "given"
        error = "auto" if self.error is None or isinstance(self.error, str) else error
        operator = "" if self.learned is None else ", learned operator"
        operator = operator if self.operator is None else f", operator {getattr(self.operator, '__name__', 'given')}"
        return f"<xslams.Observation {self.name!r}: {fields} ({sizes}), method {self.method}, error {error}{operator}>"

    def _repr_html_(self) -> str:
        names = "error", "variable", "operator", "learned", "method", "tolerance", "engine"
        given = {n: getattr(self, n) for n in names} | {"error": "auto" if self.error is None else self.error}
        parts = [
            Section("Settings", attributes({k: v for k, v in given.items() if v is not None}), opened=True),
            Section("Quality control", settings(self.qc)),
            Section("Data", cell(self.data)),
        ]
        return page("xslams.Observation", self.name, parts, repr(self))

    def calibrated(self, reference: xr.Dataset | xr.DataArray, by: str | None = "month") -> Observation:
        """Copy with bias and error from a period where the truth is known.

        Values are compared with what the observation operator makes of the reference, at the times that both have. The
        mean difference is the bias, and its scatter, of instrument and representativeness, the error. Both are those of
        each place as far as it has values enough, and else those of the source; a place that the reference period does
        not know has those of the source, with an error that includes how much places differ. They hold for the values
        of other times, and for other data, ``obs.replace(data=later)``.

        Parameters
        ----------
        reference
            Fields on a grid that are taken for the truth, with times and units, such as the training data of a model.
        by
            ``"month"`` or ``"season"``: bias and error vary in the course of the year; ``"hour"``: in that of the day
            (UTC); None: they do not.

        Returns
        -------
        Observation
            With `error` and ``qc.bias``; the rest of the quality control is kept. Errors that persist from value to
            value are inflated, as the likelihood takes them for independent in time. Where times that were held out ask
            for it, the error is an `ErrorCovariance` with a length, since neighbours err alike.

        Raises
        ------
        CoverageError
            If source and reference have no time or place in common, or too few values.
        ObservationError
            If values are the reference itself but for a constant, or an operator makes them.
        ObservationOptionError
            If `by` is something else.

        Examples
        --------
        >>> import xslams
        >>> truth = xslams.open_tutorial()
        >>> satellite = xslams.simulate_observations(truth["olr"], coarsen={"lat": 8, "lon": 8}, error=5.0)
        >>> known = satellite.calibrated(truth.isel(time=slice(0, 40)), by=None)
        >>> round(float(known.error["olr"].pooled[0]))
        5
        """
        from xslams.observations.calibration import calibrated

        return calibrated(self, reference, by)

    def bind(self, spec: Spec, time: xr.DataArray | Frames) -> BoundSource:
        """Read the data, and match them with the variables of a model and with frames.

        Parameters
        ----------
        spec
            The model's.
        time
            Ascending times of the frames, shape (time,); or `xslams.labels.frames.Frames`, which say what these
            stand for, also where their stamps and the model do not.

        Raises
        ------
        VariableError, UnitError, ObservationError, DimensionError
            If the data cannot be understood as observations of the model's variables.
        """
        return BoundSource.of(self, spec, time)

    def to_arrays(self, spec: Spec, time: xr.DataArray | Frames) -> SourceLikelihood:
        """Build the likelihood of this source: values and errors in the model's units, and the rows that predict them.

        Parameters
        ----------
        spec, time
            As for `bind`.

        Raises
        ------
        VariableError, UnitError, ObservationError, DimensionError
            If the data cannot be understood as observations of the model's variables.
        CoverageError
            If no value lies in the period and domain of the model, or all are missing.
        """
        return self.bind(spec, time).likelihood(strict=True)


def lacks_errors(source: Observation) -> bool:
    """Whether the errors of a source are to be estimated: where ``"auto"`` is given, or nothing at all.

    Parameters
    ----------
    source
        Observations.

    Examples
    --------
    >>> da = xr.DataArray([1.0], dims="time", name="pr")
    >>> lacks_errors(Observation(da)), lacks_errors(Observation(da, error=1.0))
    (True, False)
    """
    if source.learned is not None:
        # What was learned with the operator.
        return False
    if source.error is not None:
        return isinstance(source.error, str)
    ds = as_dataset(source.data)
    asked = [source.variable] if isinstance(source.variable, str) else list(source.variable or ())
    names = [n for n in asked if n in ds.data_vars] or [str(n) for n in ds.data_vars]
    return not any(ancillary(ds, ds[name])[0] is not None for name in names)


def check_settings(
    variable: object, error: object, method: object, tolerance: object, name: object, engine: object = "auto"
) -> None:
    """Check the settings of a source that need no data.

    Parameters
    ----------
    variable, error, method, tolerance, name, engine
        As for `Observation`.

    Raises
    ------
    ObservationOptionError
        If one of them is out of range or not of its type, as where two were swapped.
    """
    if variable is not None and not is_names(variable):
        # What comes second is the variable, and an error there is the commonest of slips.
        hint = f" An error is given by name: error={variable}." if is_number(variable) else ""
        expected = "a name, a list of names, or a mapping of names in the data to names in the model"
        msg = f"variable={shown(variable)}; expected {expected}.{hint}"
        raise ObservationOptionError(msg)
    check_stated(without_covariance(error)[0], "error")
    if not isinstance(method, str) or method not in _METHODS:
        msg = f"method={shown(method)} is unknown; expected one of {listed(_METHODS)}."
        raise ObservationOptionError(msg)
    if not isinstance(engine, str) or engine not in ("auto", *ENGINES):
        msg = f"engine={shown(engine)} is unknown; expected one of {listed(('auto', *ENGINES))}."
        raise ObservationOptionError(msg)
    _as_hours(tolerance)
    if name is not None:
        require_text(ObservationOptionError, name=name)


def _operator(operator: object) -> tuple[FieldFunction | None, LearnedOperator | None]:
    """Return the function of a user, and the learned operator, of which one is given at most."""
    if isinstance(operator, LearnedOperator):
        return None, operator
    return _function(operator), None


def _function(operator: object) -> FieldFunction | None:
    """Observation operator that was given or named."""
    if operator is None or callable(operator):
        return operator
    if isinstance(operator, str):
        return OPERATORS[operator]
    msg = (
        f"operator= must be a function of physical fields (a mapping from name to torch tensor); got "
        f"{type(operator).__name__}."
    )
    raise ObservationOptionError(msg)


def _as_hours(tolerance: Any) -> float | None:
    if tolerance is None:
        return None
    try:
        value = float(tolerance) if is_number(tolerance, 0.0) else pd.Timedelta(tolerance) / pd.Timedelta("1h")
    except (TypeError, ValueError, OverflowError) as e:
        msg = f"tolerance={shown(tolerance)} is no time span; expected hours, or for instance '3h'."
        raise ObservationOptionError(msg) from e
    # A bare number that is no count of hours, as a negative one, would be nanoseconds.
    number = isinstance(tolerance, int | float | np.number) and not isinstance(tolerance, np.timedelta64)
    if not value >= 0 or (number and not is_number(tolerance, 0.0)):
        msg = f"tolerance={shown(tolerance)} must be zero or more."
        raise ObservationOptionError(msg)
    return float(value)


def _default_name(data: xr.DataArray | xr.Dataset, variable: str | Sequence[str] | Mapping[str, str] | None) -> str:
    if isinstance(variable, str):
        return variable
    if variable is not None:
        return "+".join(variable)
    if isinstance(data, xr.DataArray):
        return str(data.name if data.name is not None else "observations")
    names = [str(n) for n in data.data_vars]
    if len(names) <= _MANY:
        return "+".join(names)
    # The file says what it is; a list of all that is in it does not.
    file = PurePath(str(data.encoding.get("source", "")).replace("\\", "/")).stem
    return file or "+".join([*names[:_MANY], "..."])


ObservationsLike = Observation | xr.DataArray | xr.Dataset | Sequence[Observation | xr.DataArray | xr.Dataset]
"""What ``obs=`` accepts."""


def as_observations(obs: ObservationsLike) -> list[Observation]:
    """List of observations, whatever was given.

    Parameters
    ----------
    obs
        An Observation, DataArray or Dataset, or a list of them.

    Returns
    -------
    list of Observation
        One for each; those that are called alike get numbers.

    Raises
    ------
    ObservationError
        If something else is given.
    """
    items: object = [obs] if isinstance(obs, Observation | xr.DataArray | xr.Dataset) else obs
    if not isinstance(items, Sequence) or isinstance(items, str):
        msg = f"obs= must be an Observation, DataArray or Dataset, or a list of them; got {type(obs).__name__}."
        raise ObservationOptionError(msg)
    sources = [o if isinstance(o, Observation) else Observation(o) for o in items]
    seen: Counter[str] = Counter()
    for i, source in enumerate(sources):
        seen[source.name] += 1
        if seen[source.name] > 1:
            sources[i] = source.replace(name=f"{source.name} {seen[source.name]}")
    return sources
