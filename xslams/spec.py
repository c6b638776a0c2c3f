"""What a model is, apart from its weights: variables, grid, time step, architecture, provenance. No torch here."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from xslams.display import page
from xslams.errors import ModelError
from xslams.masks import filled, joined, nearest_known
from xslams.quantities import Bounds, bounds_of_quantity, is_rain
from xslams.spec_checks import check_spec
from xslams.spec_display import in_words, sections
from xslams.typing import FloatArray

__all__ = ["FORMAT_VERSION", "FramePeriod", "Spec", "VariableSpec"]

FORMAT_VERSION = 2


@dataclass(frozen=True)
class FramePeriod:
    """Period that a frame stands for, where its values are not those of an instant.

    Attributes
    ----------
    hours
        Length; zero where it is one of calendar months.
    months
        Length in calendar months; zero where it is one of hours.
    stamp
        Where in the period the stamp lies: 0 at its begin, 0.5 in its middle, 1 at its end.
    begin
        When periods begin: hours since 1970-01-01 modulo `hours`, or months modulo `months`; None where they do not
        all begin at the same hour.

    Raises
    ------
    ModelError
        If the period has no length, or two.

    Examples
    --------
    Days from midnight to midnight that are stamped at noon:

    >>> FramePeriod(hours=24.0, stamp=0.5, begin=0.0)
    FramePeriod(hours=24.0, months=0, stamp=0.5, begin=0.0)
    """

    hours: float = 0.0
    months: int = 0
    stamp: float = 0.0
    begin: float | None = None

    def __post_init__(self) -> None:
        numbers = [self.hours, self.months, self.stamp, 0.0 if self.begin is None else self.begin]
        if not np.isfinite(numbers).all() or min(self.hours, self.months) < 0 or (self.hours > 0) == (self.months > 0):
            msg = f"A frame stands for some hours or for some calendar months; got {self}."
            raise ModelError(msg)

    @property
    def length(self) -> str:
        """Length for a message."""
        return f"{self.months} calendar month{'s' * (self.months > 1)}" if self.months else f"{self.hours:g} h"


@dataclass(frozen=True)
class VariableSpec:
    """One variable of a model.

    Attributes
    ----------
    name, standard_name, units
        As in the training Dataset; units are those in which the model computes.
    role
        ``"state"`` variables make the analysis; ``"aux"`` variables are decoded so that they can be observed.
    transform
        ``"identity"``, ``"sqrt"`` with its `scale`, for precipitation, or ``"scores"`` with its `knots`; see
        `xslams.transforms`.
    level_dim, levels, level_attrs
        Name, values and attributes of the vertical coordinate; None and empty where there is none.
    bounds
        Smallest and largest possible value, None where there is no bound; where it is None as a whole, as in files that
        do not say it, those of the quantity, see `valid_range`.
    cell_method
        What values are in time, in the terms of CF: ``"point"``, ``"mean"``, ``"sum"`` and so on; empty where the
        training data do not say.
    knots
        Values and their normal scores, for the transform ``"scores"``.
    masked
        Cells in which a state variable never has a value, as text, see `xslams.masks`; empty where there are none.
    """

    name: str
    units: str
    role: str = "state"
    standard_name: str | None = None
    long_name: str | None = None
    transform: str = "identity"
    scale: float = 1.0
    level_dim: str | None = None
    levels: tuple[float, ...] = ()
    level_attrs: dict[str, Any] = field(default_factory=dict)
    bounds: Bounds | None = None
    cell_method: str = ""
    knots: tuple[tuple[float, float], ...] = ()
    masked: str = ""

    @property
    def rain(self) -> bool:
        """Whether it is precipitation, amounts of which are those of a period."""
        return self.transform == "sqrt" or (self.transform == "scores" and is_rain(self.name, self.standard_name))

    @property
    def valid_range(self) -> tuple[float, float]:
        """Smallest and largest possible value, infinite where there is no bound.

        Examples
        --------
        >>> VariableSpec("clt", "%", standard_name="cloud_area_fraction").valid_range
        (0.0, 100.0)
        """
        low, high = self.bounds or bounds_of_quantity(self.name, self.units, self.standard_name, self.long_name)
        if self.bounds is None and self.transform == "sqrt":
            low = 0.0
        return -np.inf if low is None else low, np.inf if high is None else high

    @property
    def channels(self) -> int:
        """Number of channels: one per level, or one."""
        return max(len(self.levels), 1)


@dataclass(frozen=True)
class Spec:
    """Everything about a model but its weights, as stored in the header of its file.

    Attributes
    ----------
    variables
        State variables first, then auxiliary ones; their channels follow each other in this order.
    lat, lon
        Grid of the model in degrees, in the order of its arrays.
    periodic
        Whether the longitudes close the circle.
    time_step
        Hours between frames; the typical number where frames are calendar months.
    frame
        Period that a frame stands for, for variables that are not those of an instant; None where there is none, or
        where the training data do not say.
    window
        Number of frames that the score network sees at once (odd).
    kind
        Kind of prior, a name in `xslams.priors.base.PRIORS`; files of format 1, which do not say it, are ``"latent"``.
    architecture, training, scores
        Free-form records: sizes of the networks, provenance of the training data, scores on validation data.
    dims
        Dimensions of a field: ``("lat", "lon")`` on the globe. A system has its own, two, one or none; `lat` and `lon`
        are then the coordinates of the last two (a single 0 where there is none), and the time step is in its own unit.
    covered_days
        First and last days of the year, from 0 on, of the periods that the training data cover; none stands for the
        whole year, as in files that do not say it. See `xslams.seasons`.
    system
        For a model of one of `xslams.systems`: its name and parameters.
    operators
        Records of the learned observation operators, whose arrays are among the weights; see `xslams.learned.storage`.
    """

    variables: tuple[VariableSpec, ...]
    lat: tuple[float, ...]
    lon: tuple[float, ...]
    periodic: bool
    time_step: float = 24.0
    window: int = 5
    name: str = "unnamed"
    summary: str = ""
    license: str = ""
    kind: str = "latent"
    architecture: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    dims: tuple[str, ...] = ("lat", "lon")
    system: dict[str, Any] = field(default_factory=dict)
    covered_days: tuple[tuple[float, float], ...] = ()
    frame: FramePeriod | None = None
    operators: tuple[dict[str, Any], ...] = ()
    format_version: int = FORMAT_VERSION

    def __repr__(self) -> str:
        return f"<xslams.Spec {self.name!r}: {in_words(self)}>"

    def _repr_html_(self) -> str:
        return page("xslams.Spec", self.name, sections(self), repr(self))

    @property
    def flat(self) -> bool:
        """Whether fields are those of a small system in a space of its own, and not on the globe."""
        return self.dims != ("lat", "lon")

    @property
    def channels(self) -> int:
        """Number of channels of all variables together."""
        return sum(v.channels for v in self.variables)

    @property
    def state(self) -> tuple[VariableSpec, ...]:
        """Variables that make the analysis."""
        return tuple(v for v in self.variables if v.role == "state")

    @property
    def aux(self) -> tuple[VariableSpec, ...]:
        """Variables that are decoded only to be observed."""
        return tuple(v for v in self.variables if v.role == "aux")

    @property
    def state_channels(self) -> int:
        """Number of leading channels that belong to the state."""
        return sum(v.channels for v in self.state)

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Shape (channel, lat, lon) of one frame."""
        return self.channels, len(self.lat), len(self.lon)

    def channel_slice(self, name: str) -> slice:
        """Channels of the variable called `name`."""
        start = 0
        for variable in self.variables:
            if variable.name == name:
                return slice(start, start + variable.channels)
            start += variable.channels
        known = ", ".join(v.name for v in self.variables)
        msg = f"The model has no variable {name!r}; it has {known}."
        raise ModelError(msg)

    def bounded(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Bring values that are out of the bounds of their variable to these, in place.

        Parameters
        ----------
        values
            Physical fields of the state or of all variables, shape (*, channel, lat, lon).

        Returns
        -------
        ndarray
            The same array. Values that are not finite stay as they are, as nothing must hide them.
        """
        ranges = [v.valid_range for v in self.variables for _ in range(v.channels)]
        for channel, (low, high) in enumerate(ranges[: values.shape[-3]]):
            if np.isfinite([low, high]).any():
                part = values[..., channel, :, :]
                np.clip(part, low, high, out=part, where=np.isfinite(part))
        return values

    @property
    def masked(self) -> npt.NDArray[np.bool_] | None:
        """Cells that never have a value, shape (channel, lat, lon); None where there are none."""
        texts, levels = self._masks
        return joined(texts, levels, (len(self.lat), len(self.lon))) if any(texts) else None

    @property
    def _masks(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Mask and number of channels of each variable."""
        return tuple(v.masked for v in self.variables), tuple(v.channels for v in self.variables)

    def filled(self, fields: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Give cells that never have a value that of the nearest cell, as the networks of the model know them.

        Parameters
        ----------
        fields
            Physical fields of the state or of all variables, shape (*, channel, lat, lon).

        Returns
        -------
        ndarray
            The same array where all cells have values, else a new one.
        """
        if self.masked is None:
            return fields
        return filled(fields, nearest_known(*self._masks, self.lat, self.lon, globe=not self.flat))

    def without_masked(self, fields: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Make values of cells that never have one NaN, in place.

        Parameters
        ----------
        fields
            Physical fields of the state or of all variables, shape (*, channel, lat, lon).

        Returns
        -------
        ndarray
            The same array.
        """
        masked = self.masked
        if masked is not None:
            fields[..., masked[: fields.shape[-3]]] = np.nan
        return fields

    def area_weights(self) -> FloatArray:
        """Cosine of latitude, shape (lat,); 1 for a system, which is flat."""
        if self.flat:
            return np.ones(len(self.lat))
        weights: FloatArray = np.cos(np.deg2rad(np.asarray(self.lat)))
        return weights

    def to_json(self) -> str:
        """Serialise in today's format, for the header of a model file."""
        record = dataclasses.asdict(self) | {"format_version": FORMAT_VERSION}
        if not self.operators:
            # Models without are read by versions that know of none.
            del record["operators"]
        for variable in record["variables"]:
            for name in ("knots", "masked"):
                if not variable[name]:
                    del variable[name]
        return json.dumps(record, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """Read what `to_json` wrote.

        Raises
        ------
        ModelError
            If the format is newer than this package, or an entry is absent, unknown, of another type or out of range.
        """
        try:
            data = dict(json.loads(text))
            version = data.get("format_version")
            if not isinstance(version, int) or version > FORMAT_VERSION:
                msg = (
                    f"This model file has format {version!r}; this xslams reads formats up to {FORMAT_VERSION}. "
                    "Update xslams (pip install --upgrade xslams)."
                )
                raise ModelError(msg)
            frame = data.pop("frame", None)
            variables = tuple(_variable_from(v) for v in data.pop("variables"))
            spec = cls(
                variables=variables,
                lat=tuple(data.pop("lat")),
                lon=tuple(data.pop("lon")),
                dims=tuple(data.pop("dims", ("lat", "lon"))),
                covered_days=tuple((float(start), float(end)) for start, end in data.pop("covered_days", ())),
                frame=None if frame is None else FramePeriod(**frame),
                operators=tuple(dict(each) for each in data.pop("operators", ())),
                **data,
            )
            check_spec(spec)
        except ModelError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as e:
            msg = (
                f"The specification is one that this xslams does not understand ({type(e).__name__}: {e}). The file is "
                "damaged, or was made by a newer xslams (pip install --upgrade xslams)."
            )
            raise ModelError(msg) from e
        return spec


def _variable_from(record: dict[str, Any]) -> VariableSpec:
    """Read a variable from the header of a file, where sequences are lists."""
    read = {**record, "levels": tuple(record["levels"])}
    read["knots"] = tuple((value, score) for value, score in read.get("knots", ()))
    if read.get("bounds") is not None:
        low, high = read["bounds"]
        read["bounds"] = low, high
    return VariableSpec(**read)
