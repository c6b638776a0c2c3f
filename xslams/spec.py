"""What a model is, apart from its weights: variables, grid, time step, architecture, provenance. No torch here."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xslams.errors import ModelError
from xslams.spec_checks import check_spec
from xslams.typing import FloatArray

__all__ = ["FORMAT_VERSION", "Spec", "VariableSpec"]

FORMAT_VERSION = 2


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
        ``"identity"``, or ``"sqrt"``: ``u = sign(x) (sqrt(1 + |x| / scale) - 1)``, for precipitation.
    level_dim, levels, level_attrs
        Name, values and attributes of the vertical coordinate; None and empty where there is none.
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
        Hours between frames.
    window
        Number of frames that the score network sees at once (odd).
    kind
        Kind of prior, a name in `xslams.priors.base.PRIORS`; files of format 1, which do not say it, are ``"latent"``.
    architecture, training, scores
        Free-form records: sizes of the networks, provenance of the training data, scores on validation data.
    dims
        Dimensions of a field: ``("lat", "lon")`` on the globe. A system has its own, two, one or none; `lat` and `lon`
        are then the coordinates of the last two (a single 0 where there is none), and the time step is in its own unit.
    system
        For a model of one of `xslams.systems`: its name and parameters.
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
    format_version: int = FORMAT_VERSION

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

    def area_weights(self) -> FloatArray:
        """Cosine of latitude, shape (lat,); 1 for a system, which is flat."""
        if self.flat:
            return np.ones(len(self.lat))
        weights: FloatArray = np.cos(np.deg2rad(np.asarray(self.lat)))
        return weights

    def to_json(self) -> str:
        """Serialise in today's format, for the header of a model file."""
        return json.dumps(dataclasses.asdict(self) | {"format_version": FORMAT_VERSION}, sort_keys=True)

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
            variables = tuple(VariableSpec(**{**v, "levels": tuple(v["levels"])}) for v in data.pop("variables"))
            spec = cls(
                variables=variables,
                lat=tuple(data.pop("lat")),
                lon=tuple(data.pop("lon")),
                dims=tuple(data.pop("dims", ("lat", "lon"))),
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
