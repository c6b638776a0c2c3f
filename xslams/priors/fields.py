r"""From latents to the physical fields of all variables, linearised as observation operators need it.

The map of the shipped models is affine up to a transform of single values,

.. math:: x = g^{-1}\big(m + d \, D(z)\big),

with a linear decoder :math:`D`, the seasonal mean :math:`m` and standard deviation :math:`d`, and a pointwise transform
:math:`g` (`AffineFields`). Any other differentiable decoder is linearised by differentiation (`DecodedFields`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from xslams.linalg.autodiff import jvp

if TYPE_CHECKING:
    from xslams.networks.autoencoder import Autoencoder
    from xslams.networks.normalization import Normalization
    from xslams.priors.mixing import Mixing

__all__ = ["AffineFields", "DecodedFields", "FieldMap", "LinearMaps"]

#: Product with a linear map from latents to fields, and product with its adjoint.
LinearMaps = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


class FieldMap(Protocol):
    """Map from latents ``(B, L, *latent)`` to physical fields ``(B, L, channel, lat, lon)``."""

    @property
    def mean(self) -> Tensor:
        """Climatological mean in physical units, shape ``(L, channel, lat, lon)``."""
        ...

    @property
    def spread(self) -> Tensor:
        """Climatological standard deviation in physical units, shape ``(L, channel, lat, lon)``."""
        ...

    @property
    def curved(self) -> Tensor:
        """Which channels go through a transform that is not linear, booleans of shape ``(channel,)``."""
        ...

    @property
    def one_slope(self) -> bool:
        """Whether one slope, that from the climatology to what was observed, may stand for each transform."""
        ...

    def __call__(self, z: Tensor) -> Tensor:
        """Return physical fields."""
        ...

    def only(self, channels: Sequence[int]) -> FieldMap:
        """Return the map to some of the channels."""
        ...

    def nearby(self) -> FieldMap:
        """Return the map by which fields depend on latents near them alone, as if they were those of the frame."""
        ...

    def disturbed(self, z: Tensor, noise: Tensor) -> Tensor:
        """Return physical fields with what the map leaves out, drawn by standard normal noise of their shape."""
        ...

    def residual(self, observed: Tensor | None = None) -> Tensor:
        """Return the standard deviation of what the map leaves out, in physical units, ``(L, channel, lat, lon)``.

        Parameters
        ----------
        observed
            Physical fields at which a transform is linearised, NaN where there are none; the climatology by default.
        """
        ...

    def tangent(self, z: Tensor) -> tuple[Tensor, LinearMaps]:
        """Return physical fields at `z`, and the product with the derivative there and with its adjoint."""
        ...

    def secant(self, z: Tensor, observed: Tensor, error: Tensor) -> LinearMaps:
        """Return a linear map whose slope leads from the fields at `z` to what was observed, and its adjoint.

        Parameters
        ----------
        z
            Latents.
        observed, error
            Physical fields, NaN where nothing was observed, and their errors, shape ``(L, channel, lat, lon)``.
        """
        ...


class AffineFields:
    """Linear decoder, seasonal climatology, and a pointwise transform.

    Parameters
    ----------
    autoencoder
        Its decoder is linear, and knows what it leaves out.
    normalization
        Climatology and transforms.
    season
        Fraction of the year of every frame, shape ``(L,)``.
    channels
        Channels to decode; all by default.
    mixing
        Makes latents, whose covariance varies with season and place, of the frames of the prior.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        normalization: Normalization,
        season: Tensor,
        channels: Sequence[int] | None = None,
        mixing: Mixing | None = None,
    ) -> None:
        self._mixing = mixing
        self.autoencoder, self.normalization, self.season = autoencoder, normalization, season
        self.channels = None if channels is None else list(channels)
        self._decoder = autoencoder.decoder(self.channels)
        mean, std = normalization.climatology(season)
        chosen = slice(None) if self.channels is None else self.channels
        self._mean, self._std = mean[:, chosen], std[:, chosen]
        self._residual = autoencoder.residual_std[chosen]
        self._curved = normalization.curved[chosen]

    @property
    def mean(self) -> Tensor:
        """Climatological mean in physical units, shape ``(L, channel, lat, lon)``."""
        return self.normalization.inverse_transform(self._mean, self.channels)

    @property
    def spread(self) -> Tensor:
        """Climatological standard deviation in physical units; of a transformed variable that of its linearisation."""
        return self._std * self.normalization.slope(self._mean, self.channels)

    @property
    def curved(self) -> Tensor:
        """Which channels go through a transform that is not linear, booleans of shape ``(channel,)``."""
        return self._curved

    @property
    def one_slope(self) -> bool:
        """Yes, but for normal scores: being dry, where it is as often dry as not, is no amount less than usual."""
        observed = range(len(self._curved)) if self.channels is None else self.channels
        return not set(self.normalization.scored) & set(observed)

    def only(self, channels: Sequence[int]) -> AffineFields:
        """Return the map to some of the channels; the others are neither decoded nor linearised."""
        return AffineFields(self.autoencoder, self.normalization, self.season, channels, self._mixing)

    def nearby(self) -> AffineFields:
        """Return the map without the mixing, whose patterns are as wide as the frame."""
        return AffineFields(self.autoencoder, self.normalization, self.season, self.channels)

    def __call__(self, z: Tensor) -> Tensor:
        """Return physical fields ``(B, L, channel, lat, lon)``."""
        return self.normalization.inverse_transform(self._transformed(z), self.channels)

    def disturbed(self, z: Tensor, noise: Tensor) -> Tensor:
        """Return physical fields with what the decoder leaves out, drawn by standard normal noise of their shape."""
        u = self._decode(z) + self._residual * noise
        return self.normalization.inverse_transform(self._mean + self._std * u, self.channels)

    def residual(self, observed: Tensor | None = None) -> Tensor:
        """Return the standard deviation of what the decoder leaves out, in physical units."""
        at = self._mean if observed is None else self._target(observed)
        return self.normalization.slope(at, self.channels) * self._std * self._residual

    def tangent(self, z: Tensor) -> tuple[Tensor, LinearMaps]:
        """Return physical fields at `z`, and the product with the derivative there and with its adjoint."""
        g = self._transformed(z)
        slope = self._std * self.normalization.slope(g, self.channels)
        return self.normalization.inverse_transform(g, self.channels), self._maps(slope)

    def secant(self, z: Tensor, observed: Tensor, error: Tensor) -> LinearMaps:
        """Return the linear map with the slope of the transform from the fields at `z` to what was observed."""
        target = self._target(observed)
        slope = self._std * self.normalization.secant(self._transformed(z), target, self.channels, error)
        return self._maps(slope)

    def _target(self, observed: Tensor) -> Tensor:
        """Observed fields after the transform, the climatology where nothing was observed."""
        return torch.where(observed.isnan(), self._mean, self.normalization.transform(observed, self.channels))

    def _decode(self, z: Tensor) -> Tensor:
        return self._linear(z) + self._decoder.offset

    def _linear(self, v: Tensor) -> Tensor:
        return self._decoder(v if self._mixing is None else self._mixing(v))

    def _transformed(self, z: Tensor) -> Tensor:
        return self._mean + self._std * self._decode(z)

    def _maps(self, slope: Tensor) -> LinearMaps:
        def forward(v: Tensor) -> Tensor:
            return slope * self._linear(v)

        def adjoint(w: Tensor) -> Tensor:
            v = self._decoder.adjoint(slope * w)
            return v if self._mixing is None else self._mixing.adjoint(v)

        return forward, adjoint


class DecodedFields:
    """Any differentiable decoder, linearised by differentiation.

    Parameters
    ----------
    decode
        From latents to physical fields.
    mean, spread
        Climatological mean and standard deviation, shape ``(L, channel, lat, lon)``.
    channels
        Channels to keep; all by default.

    Examples
    --------
    >>> fields = DecodedFields(lambda z: z**2, torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2))
    >>> value, (forward, adjoint) = fields.tangent(torch.tensor([[[[[1.0, 3.0]]]]]))
    >>> value.flatten(), forward(torch.ones(1, 1, 1, 1, 2)).flatten()
    (tensor([1., 9.]), tensor([2., 6.]))
    """

    def __init__(
        self, decode: Callable[[Tensor], Tensor], mean: Tensor, spread: Tensor, channels: Sequence[int] | None = None
    ) -> None:
        self._decode, self._whole = decode, (mean, spread)
        self._chosen = slice(None) if channels is None else list(channels)
        self.mean, self.spread = mean[:, self._chosen], spread[:, self._chosen]
        self.curved = torch.zeros(self.mean.shape[1], dtype=torch.bool, device=mean.device)

    @property
    def one_slope(self) -> bool:
        """No: nothing is known of the decoder."""
        return False

    def only(self, channels: Sequence[int]) -> DecodedFields:
        """Return the map to some of the channels."""
        return DecodedFields(self._decode, *self._whole, channels)

    def nearby(self) -> DecodedFields:
        """Return the map itself."""
        return self

    def __call__(self, z: Tensor) -> Tensor:
        """Return physical fields ``(B, L, channel, lat, lon)``."""
        return self._decode(z)[:, :, self._chosen]

    def disturbed(self, z: Tensor, noise: Tensor) -> Tensor:
        """Return physical fields; nothing is left out of them."""
        return self(z)

    def residual(self, observed: Tensor | None = None) -> Tensor:
        """Return zeros: the fields are what the latents say."""
        return torch.zeros_like(self.mean)

    def tangent(self, z: Tensor) -> tuple[Tensor, LinearMaps]:
        """Return physical fields at `z`, and the product with the derivative there and with its adjoint."""
        z = z.detach()
        with torch.enable_grad():
            leaf = z.clone().requires_grad_()
            x = self(leaf)

        def forward(v: Tensor) -> Tensor:
            return jvp(self, z, v)

        def adjoint(w: Tensor) -> Tensor:
            return torch.autograd.grad(x, leaf, w, retain_graph=True)[0]

        return x.detach(), (forward, adjoint)

    def secant(self, z: Tensor, observed: Tensor, error: Tensor) -> LinearMaps:
        """Return the tangent, as nothing is known of the way from these fields to what was observed."""
        return self.tangent(z)[1]
