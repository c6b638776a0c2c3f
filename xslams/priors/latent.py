"""Priors in a latent space: normalisation, autoencoder, Gaussian prior, and a score network that corrects it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from xslams.networks.acceleration import accelerate
from xslams.networks.architecture import LatentArchitecture
from xslams.networks.autoencoder import Autoencoder
from xslams.networks.layers import Periodic
from xslams.networks.normalization import Normalization
from xslams.networks.seasons import nearest_covered
from xslams.networks.unet import ScoreNetwork
from xslams.priors.base import PRIORS, Prior
from xslams.priors.fields import AffineFields
from xslams.priors.gaussian import StationaryGaussian
from xslams.priors.latent_denoiser import TrajectoryDenoiser
from xslams.priors.local import LocalMixing
from xslams.priors.mixing import joined
from xslams.priors.seasonal import SeasonalMixing

if TYPE_CHECKING:
    from collections.abc import Callable

    from xslams.priors.mixing import Mixing
    from xslams.spec import Spec

__all__ = ["CALIBRATION_LEVELS", "LatentPrior"]

# Noise levels, relative to the signal, at which the calibration of a model is measured.
CALIBRATION_LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0)


@PRIORS.register("latent")
class LatentPrior(nn.Module, Prior):
    """Normalisation, autoencoder, Gaussian prior and score network of one model.

    Parameters
    ----------
    spec
        Its ``architecture`` is that of a `LatentArchitecture`.
    """

    calibration: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        sizes = LatentArchitecture.from_header(spec.architecture)
        self.normalization = Normalization(spec, sizes.mean_order, sizes.std_order, sizes.day_order)
        # Systems with two dimensions live on a square that is periodic in both.
        periodic: Periodic = "both" if spec.flat and spec.periodic else spec.periodic
        self.autoencoder = Autoencoder(
            spec.frame_shape, sizes.latent_channels, sizes.patch, periodic=periodic, hidden=sizes.hidden
        )
        latent_shape = self.autoencoder.latent_shape
        self.gaussian = StationaryGaussian(
            latent_shape,
            periodic=spec.periodic,
            modes=sizes.modes,
            lags=sizes.lags,
            coupled=sizes.coupled,
            cut=sizes.cut,
        )
        # The process of the Gaussian is mixed into latents whose covariance varies with the season.
        self.seasonal: SeasonalMixing | None = None
        if sizes.seasonal:
            self.seasonal = SeasonalMixing(self.gaussian.layout, sizes.seasonal, self.normalization.gaps)
        # Before that, it is mixed into one whose covariances differ along a latitude circle.
        self.local: LocalMixing | None = None
        if sizes.local and spec.periodic:
            self.local = LocalMixing(self.gaussian.layout, sizes.modes, sizes.local)
        # Posterior variance of the corrected denoiser over that of the Gaussian prior, at these logarithms of noise.
        self.register_buffer("calibration", torch.ones(len(CALIBRATION_LEVELS)))
        self.score: ScoreNetwork | None = None
        if sizes.width:
            self.score = ScoreNetwork(
                latent_shape,
                spec.window,
                periodic=periodic,
                width=sizes.width,
                blocks=sizes.blocks,
                location=sizes.location,
                dropout=sizes.dropout,
                trimmed=sizes.trimmed,
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (channel, lat, lon) of a latent frame."""
        return self.autoencoder.latent_shape

    @property
    def stationary(self) -> StationaryGaussian:
        """Gaussian process of the latents."""
        return self.gaussian

    def denoiser(self, length: int, season: Tensor) -> TrajectoryDenoiser:
        """Return a denoiser of trajectories ``(B, length, *shape)``; see `Prior.denoiser`."""
        return TrajectoryDenoiser(self, nearest_covered(season, self.normalization.gaps))

    def encode(self, x: Tensor, season: Tensor) -> Tensor:
        """From physical fields, NaN where missing, to latents."""
        z = self.autoencoder.encode(self.normalization.normalize(x, season))
        mixing = self.mixing(season)
        return z if mixing is None else self._mixed(mixing.inverse, z)

    def decode(self, z: Tensor, season: Tensor) -> Tensor:
        """From latents to physical fields; differentiable."""
        mixing = self.mixing(season)
        if mixing is not None:
            z = self._mixed(mixing, z)
        return self.normalization.denormalize(self.autoencoder.decode(z), season)

    def mixing(self, season: Tensor) -> Mixing | None:
        """Return the map from frames of the process of the Gaussian to latents; None where they are the same.

        Parameters
        ----------
        season
            Fraction of the year of every frame, shape ``(L,)``, or ``(B, L)`` where trajectories differ.
        """
        return joined(
            None if self.seasonal is None else self.seasonal.at(season),
            None if self.local is None else self.local.of(self.gaussian),
        )

    @staticmethod
    def _mixed(mixing: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        """Mix frames with any leading dimensions or none but that of time."""
        return mixing(z.reshape(-1, *z.shape[-4:])).reshape(z.shape)

    def climatology(self, season: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of physical fields; transforms are linearised at the mean."""
        fields = self.fields(season)
        return fields.mean, fields.spread

    def fields(self, season: Tensor) -> AffineFields:
        """Return the map from latents to physical fields."""
        return AffineFields(self.autoencoder, self.normalization, season, mixing=self.mixing(season))

    def accelerated(self, precision: str, *, compiled: bool) -> LatentPrior:
        """Return the prior with a faster score network, at the price of other rounding."""
        fast = copy.copy(self)
        # Modules are kept in a dictionary that a shallow copy would share.
        fast._modules = {**self._modules, "score": accelerate(self.score, precision, compiled=compiled)}
        return fast

    @torch.no_grad()
    def variogram(self, season: Tensor, samples: int) -> Tensor:
        """Return half of the mean squared difference between neighbouring cells under the Gaussian prior.

        Parameters
        ----------
        season
            Fraction of the year of each frame, shape ``(L,)``.
        samples
            Number of frames that are drawn, always the same ones.

        Returns
        -------
        Tensor
            In physical units squared, shape ``(L, channel, lat, lon)``; the same along a circle of latitude but for the
            climatological spread. Without what the decoder leaves out.
        """
        gaussian = self.gaussian.trajectory(1)
        noise = torch.randn((samples, 1, *self.shape), generator=torch.Generator().manual_seed(0))
        u = self.autoencoder.decode(gaussian.apply(torch.sqrt, noise))
        u = (u - self.autoencoder.decode(torch.zeros_like(noise[:1])))[:, 0]
        east = u.diff(dim=-1, append=u[..., :1] if self.gaussian.periodic else u[..., -2:-1]).square()
        north = u.diff(dim=-2, append=u[..., -2:-1, :]).square()
        half = ((east + north) / 4).mean(dim=(0, 3), keepdim=True)[0]
        return half * self.fields(season).spread.square()

    def variance_ratio(self, log_sigma: Tensor) -> Tensor:
        """Interpolate the calibration at a logarithm of noise over signal."""
        levels = torch.tensor(CALIBRATION_LEVELS, device=log_sigma.device).log()
        i = torch.searchsorted(levels, log_sigma.contiguous()).clamp(1, len(levels) - 1)
        weight = ((log_sigma - levels[i - 1]) / (levels[i] - levels[i - 1])).clamp(0, 1)
        return torch.lerp(self.calibration[i - 1], self.calibration[i], weight)

    def storage_state(self) -> dict[str, Tensor]:
        """Weights as they are stored.

        In half precision, but for what spans many orders of magnitude or holds kelvins; modes in eight bits.
        """
        exact = (
            "normalization.mean", "gaussian.autocov", "gaussian.crosscov", "gaussian.rest", "seasonal.changes",
            "local.index",
        )  # fmt: skip
        state = {k: v.detach().cpu() if k in exact else v.detach().cpu().half() for k, v in self.state_dict().items()}
        return state | {"gaussian.modes": self.gaussian.quantized().cpu()}

    def round_to_storage(self) -> None:
        """Round the weights to what a file would hold, so that a saved model is the model in memory."""
        self.load_state_dict(self.storage_state())
