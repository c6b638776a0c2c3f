"""Sizes of the networks of each kind of model, as the header of a model file holds them. No torch here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any, ClassVar, Self

from xslams.errors import ModelError

__all__ = ["LatentArchitecture", "MarkovArchitecture"]


# A network with a larger size would not fit any memory.
_LARGEST = 2**16
# Levels of a U-Net.
_DEEPEST = 16


@dataclass(frozen=True)
class _Architecture:
    """What all architectures have in common: the way to the header of a model file and back."""

    #: Smallest and largest value of sizes, where these are not 0 and 65536.
    RANGES: ClassVar[Mapping[str, tuple[int, int]]] = {}

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Self:
        """Read the sizes from the record in the header of a model file.

        Raises
        ------
        ModelError
            If a size is missing or unknown.

        Examples
        --------
        >>> MarkovArchitecture.from_header({"memory": 4, "hidden": 8, "reach": 0, "blocks": True, "products": 4})
        Traceback (most recent call last):
        xslams.errors.ModelError: The architecture in the model's header lacks 'step_reach'; the file is damaged ...
        """
        fields = dataclasses.fields(cls)
        missing = [f.name for f in fields if f.default is MISSING and f.name not in header]
        if missing:
            msg = (
                f"The architecture in the model's header lacks {', '.join(map(repr, missing))}; the file is damaged or "
                "of another version of xslams. Fetch or train the model again."
            )
            raise ModelError(msg)
        unknown = sorted(set(header) - {f.name for f in fields})
        if unknown:
            msg = (
                f"The architecture in the model's header has {', '.join(map(repr, unknown))}, which this xslams does "
                "not know; the file is of a newer version. Update xslams (pip install --upgrade xslams)."
            )
            raise ModelError(msg)
        sizes = cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in header.items()})
        sizes.check()
        return sizes

    def check(self) -> None:
        """Refuse sizes of another type or out of range, before anything is made of them.

        Raises
        ------
        ModelError
            If there is one; the message names it.
        """
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), str(field.type)
            least, most = (0.0, 1.0) if kind == "float" else self.RANGES.get(field.name, (0, _LARGEST))
            given = value if isinstance(value, tuple) else (value,)
            number = (int, float) if kind == "float" else int
            of_type = isinstance(value, tuple) == kind.startswith("tuple") and all(
                isinstance(v, bool) if kind == "bool" else isinstance(v, number) and not isinstance(v, bool)
                for v in given
            )
            if not of_type or len(given) > _DEEPEST or not all(least <= v <= most for v in given):
                msg = (
                    f"The architecture in the model's header has {field.name}={str(value)[:60]}; expected {kind} from "
                    f"{least} to {most}. The file is damaged: fetch or train the model again."
                )
                raise ModelError(msg)

    def to_header(self) -> dict[str, Any]:
        """Return the record for the header of a model file, of types that JSON gives back unchanged."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}


@dataclass(frozen=True)
class LatentArchitecture(_Architecture):
    """Sizes of a model with a latent space: normalisation, autoencoder, Gaussian prior and score network.

    Attributes
    ----------
    latent_channels, patch, hidden
        Channels of a latent frame, factor by which its grid is coarser, and width of the encoder's nonlinear branch,
        see `xslams.networks.autoencoder.Autoencoder`.
    modes, lags, coupled
        Modes, largest lag and coupled modes of the Gaussian prior, see `xslams.priors.gaussian.StationaryGaussian`.
    mean_order, std_order
        Annual harmonics, see `xslams.networks.normalization.Normalization`.
    day_order
        Daily harmonics, see there.
    seasonal
        Modes whose covariances vary with the season, see `xslams.priors.seasonal.SeasonalMixing`.
    local
        Modes whose covariances differ along latitude circles, see `xslams.priors.local.LocalMixing`.
    cut
        Cells of the fields in a latent cell, in each direction, whose values the latents are to the Gaussian prior, see
        `xslams.priors.blocks.Blocks`: the patch where the latents have all of them, otherwise 1.
    width, blocks, location, dropout, trimmed
        See `xslams.networks.unet.ScoreNetwork`; without any width there is no score network.
    """

    RANGES: ClassVar = {
        "latent_channels": (1, _LARGEST), "patch": (1, 1024), "lags": (0, 1024), "mean_order": (0, 64),
        "std_order": (0, 64), "day_order": (0, 12), "width": (1, _LARGEST), "blocks": (0, 256),
        "cut": (1, 1024),
    }  # fmt: skip

    latent_channels: int
    patch: int
    hidden: int
    modes: int
    lags: int
    mean_order: int
    std_order: int
    width: tuple[int, ...]
    blocks: int
    location: int
    # Matters to training alone; files may lack it.
    dropout: float = 0.0
    # Files of models without coupled modes may lack it.
    coupled: int = 0
    # Files of models with one covariance for the whole year may lack it.
    seasonal: int = 0
    # Files of models whose Gaussian prior knows latent cells only may lack it.
    cut: int = 1
    # Files of models of whole days may lack it.
    day_order: int = 0
    # Files of models whose covariances are the same along a latitude circle may lack it.
    local: int = 0
    # Files lack it whose networks see three cells along axes of a single one.
    trimmed: bool = False


@dataclass(frozen=True)
class MarkovArchitecture(_Architecture):
    """Sizes of a model of trajectories of a small system: two filters, and the step from frame to frame.

    Attributes
    ----------
    memory, hidden, reach, blocks
        See `xslams.networks.two_filter.TwoFilter`.
    products, step_reach, substeps
        Width of the layers, sites that they see on both sides, and number of applications, see
        `xslams.networks.transition.Transition`.
    """

    RANGES: ClassVar = {
        "hidden": (1, _LARGEST), "reach": (0, 1024), "step_reach": (0, 1024), "substeps": (1, 1024), "blocks": (0, 1),
    }  # fmt: skip

    memory: int
    hidden: int
    reach: int
    blocks: bool
    products: int
    step_reach: int
    # Files of models with a single step may lack it.
    substeps: int = 1
