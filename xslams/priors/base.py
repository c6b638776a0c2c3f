r"""What assimilation asks of a prior of trajectories, and the registry of its kinds.

A prior knows trajectories of latent frames :math:`z`: it gives a denoiser of them, and the way from latents to physical
fields :math:`x` and back. Which class a model file holds, its spec says (`Spec.kind`). A new kind is a class that is
registered in `PRIORS`; of its methods, the `Prior` protocol implements those that have a general answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor

from xslams.errors import ModelError, ObservationError
from xslams.priors.fields import DecodedFields, FieldMap
from xslams.registries import Registry

if TYPE_CHECKING:
    from typing import Self

    import torch
    from azula.denoise import Denoiser

    from xslams.priors.gaussian import StationaryGaussian
    from xslams.spec import Spec

__all__ = ["PRIORS", "Prior", "Step", "build_prior"]


@runtime_checkable
class Step(Protocol):
    """The step of a Markov process: from frames to the expected next frames."""

    def __call__(self, z: Tensor) -> Tensor:
        """Return expected next frames, of the shape of the frames."""
        ...

    def linearize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return expected next frames ``(*, n)`` and the Jacobian ``(*, n, n)`` for frames ``(*, n)``."""
        ...


@runtime_checkable
class Prior(Protocol):
    """Prior of trajectories, as a torch module that was built from a spec.

    Attributes
    ----------
    shape
        Shape (channel, lat, lon) of a latent frame.
    step
        Step of the process, where the prior has learned one.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (channel, lat, lon) of a latent frame."""
        ...

    @property
    def step(self) -> Step | None:
        """Step of the process from frame to frame; None where none was learned."""
        return None

    @property
    def stationary(self) -> StationaryGaussian | None:
        """Gaussian process of the latents; None where the prior has none."""
        return None

    def to(self, device: torch.device) -> Self:
        """Bring the prior to a device, as torch modules do."""
        ...

    def denoiser(self, length: int, season: Tensor) -> Denoiser:
        """Return a denoiser of trajectories ``(B, length, *shape)``.

        Parameters
        ----------
        length
            Number of frames.
        season
            Fraction of the year of every frame, shape ``(length,)``; without meaning for a system.
        """
        ...

    def encode(self, x: Tensor, season: Tensor) -> Tensor:
        """From physical fields ``(*, L, channel, lat, lon)``, NaN where missing, to latents ``(*, L, *shape)``."""
        ...

    def decode(self, z: Tensor, season: Tensor) -> Tensor:
        """From latents ``(*, L, *shape)`` to physical fields ``(*, L, channel, lat, lon)``; differentiable."""
        ...

    def climatology(self, season: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of physical fields, each of shape ``(L, channel, lat, lon)``."""
        ...

    def fields(self, season: Tensor) -> FieldMap:
        """Return the map from latents to physical fields, with its derivatives and what it leaves out."""
        return DecodedFields(lambda z: self.decode(z, season), *self.climatology(season))

    def variogram(self, season: Tensor, samples: int) -> Tensor:
        """Return half of the mean squared difference between neighbouring cells, ``(L, channel, lat, lon)``.

        Raises
        ------
        ObservationError
            If the prior does not know it.
        """
        msg = (
            f"representativeness='auto' needs the variability between neighbouring cells, which a "
            f"{type(self).__name__} does not know. Give the standard deviation of the representativeness error instead."
        )
        raise ObservationError(msg)

    def accelerated(self, precision: str, *, compiled: bool) -> Self:
        """Return the prior with faster networks, at the price of other rounding; itself where there are none."""
        return self

    def storage_state(self) -> dict[str, Tensor]:
        """Return the tensors that a model file holds."""
        ...


#: Kinds of priors by the name that a spec gives; a class is called with the spec.
PRIORS: Registry[type[Prior]] = Registry("kind of prior")


def build_prior(spec: Spec) -> Prior:
    """Build the prior that a spec describes, with initial weights.

    Parameters
    ----------
    spec
        Its `kind` names a class in `PRIORS`.

    Raises
    ------
    ModelError
        If the kind is unknown, or the spec lacks something that the kind needs.
    """
    if spec.kind not in PRIORS:
        msg = (
            f"The model {spec.name!r} has a prior of the kind {spec.kind!r}; this xslams knows "
            f"{', '.join(map(repr, PRIORS.names))}. Import the package that registers it, or update xslams."
        )
        raise ModelError(msg)
    try:
        return PRIORS[spec.kind](spec)  # type: ignore[call-arg]  # a protocol cannot say how it is built
    except KeyError as e:
        msg = (
            f"The specification of {spec.name!r} lacks {e} in its architecture; it is damaged or of another version of "
            "xslams. Fetch or train the model again."
        )
        raise ModelError(msg) from e
