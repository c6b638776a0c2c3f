"""Parts that all systems share: the integrator, noise keyed by trajectory, and the labels of a Dataset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import DimensionError, OptionError, VariableError
from xslams.typing import FloatArray

__all__ = ["System", "check", "finite", "positive", "rk4", "whole"]

_Any = TypeVar("_Any", bound=npt.NDArray[Any])

# Branches of the random stream of a trajectory.
_START, _NOISE = 0, 1


def rk4(tendency: Callable[[_Any], _Any], state: _Any, dt: float, half: Any = 1.0) -> _Any:
    r"""Advance by one step of the classical Runge-Kutta method of fourth order.

    For :math:`\dot x = N(x) - \lambda x` with diagonal damping :math:`\lambda` the method is applied to
    :math:`e^{\lambda t} x` (integrating factor), so that the damping is exact and does not limit the step.

    Parameters
    ----------
    tendency
        :math:`N`, a function of the state.
    state
        Any array.
    dt
        Length of the step.
    half
        Damping over half a step, :math:`e^{-\lambda\,dt/2}`, broadcast against the state; 1 without damping.

    Returns
    -------
    ndarray
        The state `dt` later, with an error of order ``dt**5``.

    Examples
    --------
    >>> import numpy as np
    >>> float(rk4(lambda x: -x, np.array(1.0), 0.1))  # exp(-0.1) = 0.904837418...
    0.9048375
    """
    damped = half * state
    k1 = tendency(state)
    k2 = tendency(damped + (dt / 2) * half * k1)
    k3 = tendency(damped + (dt / 2) * k2)
    k4 = tendency(half * (damped + dt * k3))
    result: _Any = half * (damped + (dt / 6) * half * k1 + (dt / 3) * (k2 + k3)) + (dt / 6) * k4
    return result


class System(ABC):
    """Equations of motion, their integrator, and the labels of their variables.

    A subclass is a frozen dataclass of parameters. It defines the metadata below, `shape`, `draw_one`, `tendency` and
    `_advance`. The latter may act on another form of the state, such as spectral coefficients, to which `_enter`
    converts and from which `_leave` converts back.

    Attributes
    ----------
    variables
        Variables of the state. If there are several, the axis of the state before `dims` runs over them.
    dims
        Dimensions of one field.
    default_spinup
        Steps before the first frame if the initial state is drawn.
    """

    variables: ClassVar[tuple[str, ...]]
    dims: ClassVar[tuple[str, ...]]
    default_spinup: ClassVar[int] = 0
    # Whether trajectories are advanced in one array. This saves time if the work per step is small, but requires that
    # results have the same bits for any number of trajectories, which matrix products and transforms do not guarantee.
    _together: ClassVar[bool] = True
    _attributes: ClassVar[Mapping[str, Mapping[str, str]]]
    _title: ClassVar[str]
    _references: ClassVar[str]

    @property
    @abstractmethod
    def dt(self) -> float:
        """Time between frames."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one state."""

    @abstractmethod
    def tendency(self, state: FloatArray) -> FloatArray:
        """Return the time derivative of states with any leading axes and `shape`."""

    @abstractmethod
    def draw_one(self, generator: np.random.Generator) -> FloatArray:
        """Draw one initial state, before spin-up, of shape `shape`."""

    def draw(self, trajectories: int | None = None, *, seed: int = 0) -> FloatArray:
        """Draw the initial states of trajectories, before spin-up.

        Parameters
        ----------
        trajectories
            Number of states; None for a single state without a leading axis.
        seed
            Initial state number i depends only on the seed and on i.

        Returns
        -------
        ndarray
            Shape ``(trajectories, *shape)``, or `shape`.

        Raises
        ------
        OptionError
            If a number is out of range.
        """
        count = _count(trajectories)
        starts = np.stack([self.draw_one(g) for g in _generators(seed, count, _START)])
        return starts[0] if trajectories is None else starts

    def step(self, state: FloatArray) -> FloatArray:
        """Advance states by `dt`, without noise.

        Parameters
        ----------
        state
            States with any leading axes and `shape`.

        Returns
        -------
        ndarray
            The states `dt` later.

        Raises
        ------
        DimensionError
            If the last axes do not have the shape of a state.
        """
        return self._leave(self._advance(self._enter(self._checked(state))))

    def simulate(
        self,
        steps: int,
        *,
        trajectories: int | None = None,
        seed: int = 0,
        spinup: int | None = None,
        start: npt.ArrayLike | xr.Dataset | None = None,
    ) -> xr.Dataset:
        """Integrate the equations.

        Parameters
        ----------
        steps
            Number of steps of length `dt` between the first frame and the last.
        trajectories
            Number of trajectories along the dimension ``trajectory``; None for a single one without that dimension,
            which equals the first of any number.
        seed
            Trajectory number i depends only on the seed and on i.
        spinup
            Number of steps before the first frame, at which time is 0. By default `default_spinup` if the initial state
            is drawn, and none if it is given.
        start
            Initial state or states, of shape `shape` or ``(trajectories, *shape)``, or one frame of a Dataset of the
            same system. They are drawn by default.

        Returns
        -------
        Dataset
            Dimensions (trajectory, time, ...) with ``steps + 1`` frames.

        Raises
        ------
        OptionError
            If a number is out of range, or the integration diverges.
        DimensionError, VariableError
            If the initial state is not a state of this system.
        """
        count = _count(trajectories)
        whole("steps", steps, 0)
        if spinup is None:
            spinup = self.default_spinup if start is None else 0
        whole("spinup", spinup, 0)
        first = self.draw(count, seed=seed) if start is None else self._given(start, count)
        noise = list(_generators(seed, count, _NOISE))
        frames = np.empty((count, steps + 1, *self.shape))
        for part in [slice(None)] if self._together else [slice(i, i + 1) for i in range(count)]:
            # Values that overflow are not finite, which raises an error below.
            with np.errstate(over="ignore", invalid="ignore"):
                self._run(first[part], noise[part], spinup, frames[part])
        settings: dict[str, Any] = {"steps": steps, "trajectories": trajectories, "seed": seed, "spinup": spinup}
        if start is not None:
            settings["start"] = f"<{type(start).__name__}>"
        return self._label(frames if trajectories is not None else frames[0], settings)

    def state(self, ds: xr.Dataset) -> FloatArray:
        """Return the states in a Dataset as an array, the inverse of the labelling by `simulate`.

        Parameters
        ----------
        ds
            Dataset with `variables` on `dims` and any other dimensions.

        Returns
        -------
        ndarray
            Array with the other dimensions in the order of the Dataset, then those of a state.

        Raises
        ------
        VariableError
            If a variable is missing.
        DimensionError
            If a dimension is missing or has another size.
        """
        missing = [name for name in self.variables if name not in ds]
        if missing:
            msg = (
                f"The Dataset has the variables {', '.join(map(str, ds.data_vars)) or '(none)'}; a state of "
                f"{type(self).__name__} needs {', '.join(self.variables)}. Use a Dataset from its simulate()."
            )
            raise VariableError(msg)
        absent = [d for d in self.dims for name in self.variables if d not in ds[name].dims]
        if absent:
            msg = f"Expected the dimensions {', '.join(self.dims)}; the data lack {', '.join(dict.fromkeys(absent))}."
            raise DimensionError(msg)
        fields = xr.broadcast(*(ds[name].transpose(..., *self.dims) for name in self.variables))
        arrays = [np.asarray(f.values, float) for f in fields]
        return self._checked(arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=-1 - len(self.dims)))

    def _run(self, first: FloatArray, noise: list[np.random.Generator], spinup: int, out: FloatArray) -> None:
        """Integrate from `first` (count, ...) and write frames into `out` (count, steps + 1, ...)."""
        inner = self._enter(first)
        steps = spinup + out.shape[1] - 1
        for k, kick in enumerate((None, *self._kicks(noise, steps)), start=-spinup):
            if k > -spinup:
                inner = self._advance(inner)
                if kick is not None:
                    inner = inner + kick
            if k >= 0:
                out[:, k] = self._leave(inner)
            if not np.isfinite(inner).all():
                msg = (
                    f"The integration of {self!r} diverged within {k + spinup} steps of the start. Use a smaller step "
                    "(more substeps) or an initial state closer to the attractor."
                )
                raise OptionError(msg)

    def _kicks(self, generators: Sequence[np.random.Generator], steps: int) -> Iterator[FloatArray | None]:
        """Yield the noise to add after each step, shape ``(count, *shape)``; None for no noise."""
        return repeat(None, steps)

    def _enter(self, state: FloatArray) -> npt.NDArray[Any]:
        """Convert a state to the form in which the system is integrated."""
        return state

    def _leave(self, inner: npt.NDArray[Any]) -> FloatArray:
        """Convert back to a state, the inverse of `_enter`."""
        return inner

    @abstractmethod
    def _advance(self, inner: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Advance by `dt` without noise."""

    def _checked(self, state: npt.ArrayLike) -> FloatArray:
        array = np.asarray(state, float)
        if array.shape[array.ndim - len(self.shape) :] != self.shape or array.ndim < len(self.shape):
            msg = f"Got a state of shape {array.shape}; expected {self.shape} as its last axes, for {self!r}."
            raise DimensionError(msg)
        return array

    def _given(self, start: npt.ArrayLike | xr.Dataset, count: int) -> FloatArray:
        if isinstance(start, xr.Dataset) and "time" in start.dims:
            msg = f"start has {start.sizes['time']} frames; expected one. Choose it with .isel(time=-1)."
            raise DimensionError(msg)
        array = self._checked(self.state(start) if isinstance(start, xr.Dataset) else start)
        leading = array.shape[: array.ndim - len(self.shape)]
        if leading not in ((), (1,), (count,)):
            msg = (
                f"start holds {' x '.join(map(str, leading))} states; expected one, or one for each of "
                f"trajectories={count}. Give as many as there are trajectories."
            )
            raise DimensionError(msg)
        if not np.isfinite(array).all():
            msg = "start has missing or infinite values; expected a complete state. Fill or choose another frame."
            raise OptionError(msg)
        return np.broadcast_to(array, (count, *self.shape))

    def _fields(self, frames: FloatArray) -> dict[str, FloatArray]:
        """Return the fields of states ``(..., *shape)`` by name, on `dims`."""
        if len(self.variables) == 1:
            return {self.variables[0]: frames}
        axis = -1 - len(self.dims)
        return {name: np.take(frames, i, axis=axis) for i, name in enumerate(self.variables)}

    def _coords(self) -> dict[str, xr.Variable]:
        """Return the coordinates of one field."""
        return {}

    def _time(self, frames: int) -> xr.Variable:
        attrs = {"long_name": "time", "units": "1", "axis": "T"}
        return xr.Variable("time", self.dt * np.arange(frames), attrs)

    def _label(self, frames: FloatArray, settings: Mapping[str, Any]) -> xr.Dataset:
        from xslams import __version__

        fields = self._fields(frames)
        leading = ("trajectory", "time")[-(next(iter(fields.values())).ndim - len(self.dims)) :]
        coords = {"time": self._time(frames.shape[len(leading) - 1]), **self._coords()}
        if leading[0] == "trajectory":
            numbers = np.arange(len(frames))
            attrs = {"standard_name": "realization", "long_name": "number of the trajectory", "units": "1"}
            coords["trajectory"] = xr.Variable("trajectory", numbers, attrs)
        now = np.datetime_as_string(np.datetime64("now"), "s")
        call = ", ".join(f"{k}={v!r}" for k, v in settings.items())
        provenance = {
            "Conventions": "CF-1.11",
            "title": self._title,
            "source": f"xslams {__version__}: {self!r}",
            "references": self._references,
            "history": f"{now}Z xslams {__version__}: {self!r}.simulate({call})",
            "system": type(self).__name__,
            **{name: value for name, value in vars(self).items() if isinstance(value, int | float | str | np.number)},
            **{name: value for name, value in settings.items() if name in ("seed", "spinup")},
        }
        return xr.Dataset(
            {name: ((*leading, *self.dims), field, dict(self._attributes[name])) for name, field in fields.items()},
            coords=coords,
            attrs=provenance,
        )


def check(holds: bool, name: str, got: object, expected: str) -> None:
    """Raise `OptionError` unless the condition on an argument holds."""
    if not holds:
        msg = f"{name}={got!r}; expected {expected}."
        raise OptionError(msg)


def positive(**values: float) -> None:
    """Raise `OptionError` unless all are finite numbers above zero."""
    for name, value in values.items():
        check(_is_number(value) and 0 < value < np.inf, name, value, "a finite number above 0")


def whole(name: str, value: object, least: int) -> None:
    """Raise `OptionError` unless the value is an integer of at least `least`."""
    fits = isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)
    check(fits, name, value, f"a whole number, at least {least}")


def finite(**values: float) -> None:
    """Raise `OptionError` unless all are finite numbers."""
    for name, value in values.items():
        check(_is_number(value) and bool(np.isfinite(value)), name, value, "a finite number")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _count(trajectories: int | None) -> int:
    if trajectories is None:
        return 1
    whole("trajectories", trajectories, 1)
    return trajectories


def _generators(seed: int, count: int, branch: int) -> Iterator[np.random.Generator]:
    """Yield a generator for each trajectory, independent of their number."""
    whole("seed", seed, 0)
    for i in range(count):
        yield np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(i, branch)))
