r"""Gaussian prior of latent trajectories, the analytic part of the denoiser.

The covariance between frames :math:`t` and :math:`t'` is

.. math:: \mathrm{Cov}[z_t, z_{t'}] = V \, \mathrm{diag}\big(c_k(t - t')\big) V^* + (I - V V^*) \, c_r(t - t')

with orthonormal modes :math:`V` of a single frame and one lag autocovariance :math:`c_k` per mode: every mode is its
own stationary process in time. The leading ones may be coupled, as patterns that move turn into each other: these have
lag covariance matrices :math:`C(t - t')` in place of the diagonal ones, those of the sample and diagonal ones in a
given proportion, which is positive definite as both are. On a grid that is periodic in longitude the modes are those of
each zonal wavenumber (homogeneous statistics along a latitude circle, as in the background error covariances of
variational assimilation), their amplitudes are complex, and the phase of :math:`c_k(1)` is the speed at which a wave
travels. Elsewhere they are plain empirical orthogonal functions. What the modes leave out is white in space and an
AR(1) process in time.

Autocovariances of any lag follow from the first ``p`` by the maximum-entropy (autoregressive) extension, which is
positive definite for every length. For ``L`` frames the ``L x L`` matrices of all modes, and the one of those that are
coupled, are diagonalised once, and then every function of the covariance, such as the Wiener filter, costs two
projections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xslams.linalg.eigen import eigh
from xslams.priors.autoregression import extend, extend_coupled
from xslams.priors.blocks import Blocks
from xslams.priors.estimation import Sample

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["StationaryGaussian", "TrajectoryGaussian"]


class StationaryGaussian(nn.Module):
    """Stationary Gaussian process of latent frames: their modes, and the lag autocovariances of these.

    Parameters
    ----------
    latent_shape
        Shape (z, z_lat, z_lon) of a frame.
    periodic
        True: modes per zonal wavenumber. False: modes of the whole frame.
    modes
        Number of modes per wavenumber, or of the whole frame.
    lags
        Largest lag whose autocovariance is stored.
    coupled
        Number of leading modes, per wavenumber or of the whole frame, that are coupled in time.
    cut
        Cells whose values the channels of a latent cell are, see `xslams.priors.blocks.Blocks`.
    """

    modes: Tensor
    autocov: Tensor
    crosscov: Tensor
    rest: Tensor

    def __init__(
        self,
        latent_shape: tuple[int, int, int],
        *,
        periodic: bool,
        modes: int,
        lags: int,
        coupled: int = 0,
        cut: int = 1,
    ) -> None:
        super().__init__()
        self.layout = Blocks(latent_shape, periodic, cut)
        self.latent_shape = latent_shape
        self.periodic = periodic
        self.lags = lags
        self.blocks, self.size = self.layout.count, self.layout.size
        modes = min(modes, self.size)
        pair = 2 if periodic else 1  # real and imaginary parts
        self.register_buffer("modes", torch.zeros(self.blocks, self.size, modes, pair))
        self.register_buffer("autocov", torch.zeros(lags + 1, self.blocks, modes, pair))
        self.coupled = min(coupled, modes) if lags else 0
        if self.coupled:
            self.register_buffer("crosscov", torch.zeros(lags + 1, self.blocks, self.coupled, self.coupled, pair))
        self._made: dict[int, tuple[list[tuple[Tensor, int]], TrajectoryGaussian]] = {}
        self._basis: tuple[Tensor, int, Tensor] | None = None
        self.register_buffer("rest", torch.zeros(2, self.blocks))  # variance and lag-1 autocorrelation

    def trajectory(self, length: int) -> TrajectoryGaussian:
        """Return the Gaussian over `length` frames, made once for each length as long as nothing changes."""
        parts = [self.modes, self.autocov, self.rest, *([self.crosscov] if self.coupled else [])]
        state = [(part, part._version) for part in parts]
        # Threads may come here together: at worst one makes again what another has made.
        known = self._made.get(length)
        if known is not None and all(a is b and m == n for (a, m), (b, n) in zip(known[0], state, strict=True)):
            return known[1]
        made = TrajectoryGaussian(self, length)
        self._made[length] = state, made
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made from the weights; it need not travel with them."""
        return self.__dict__ | {"_made": {}, "_basis": None}

    def to_blocks(self, z: Tensor) -> Tensor:
        """From ``(B, L, z, z_lat, z_lon)`` to ``(blocks, B, L, size)``, complex on a periodic grid."""
        return self.layout.split(z)

    def from_blocks(self, f: Tensor) -> Tensor:
        """Invert `to_blocks`."""
        return self.layout.join(f)

    @torch.no_grad()
    def fit(
        self,
        runs: list[Tensor],
        *,
        shrinkage: float = 0.0,
        taper: Tensor | None = None,
        smoothing: int = 1,
        folds: int = 0,
        coupling: float = 1.0,
    ) -> None:
        """Estimate modes and autocovariances from contiguous runs of latent frames ``(T, z, z_lat, z_lon)``.

        Parameters
        ----------
        runs
            Contiguous stretches of frames.
        shrinkage, smoothing, coupling
            As for `estimate`.
        taper, folds
            As for `xslams.priors.estimation.Sample`.
        """
        sample = Sample(self.layout, runs, folds=folds, taper=taper)
        self.estimate(sample, shrinkage=shrinkage, smoothing=smoothing, coupling=coupling)

    @torch.no_grad()
    def estimate(self, sample: Sample, *, shrinkage: float = 0.0, smoothing: int = 1, coupling: float = 1.0) -> None:
        """Estimate modes and autocovariances from a sample, which keeps what other estimates need as well.

        Parameters
        ----------
        sample
            Runs of frames.
        shrinkage
            Weight of the mean variance of a block against its sample eigenvalues.
        smoothing
            Number of modes of like variance over which lag correlations are averaged (odd); with few frames, those of a
            single mode are noise. Means of positive definite functions are positive definite.
        coupling
            Weight, 0 to 1, of the lag correlations between coupled modes against none: those of a sample are noisy.
        """
        modes, complete = self.modes.shape[2], self.modes.shape[2] == self.size
        for m in range(self.blocks):
            values, vectors = sample.decomposed(m, modes)
            self.modes[m] = torch.view_as_real(vectors) if self.periodic else vectors[..., None]
            lagged, power, residual = sample.autocovariances(m, modes, self.lags)
            left = residual[0]
            if not sample.folds:
                # Variances are those of the (tapered, shrunk) covariance.
                variance = (1 - shrinkage) * values[:modes] + shrinkage * values.mean()
            elif sample.taper is not None:
                # What distant cells have in common is in the amplitudes, and not in the tapered covariance.
                variance = sample.tapered(m, modes)
                left = power.sum() + residual[0] - variance.sum()
            else:
                variance = power
            c = _smooth((lagged / power.clamp(min=1e-12)).mT, smoothing).mT * variance
            self.autocov[:, m] = torch.view_as_real(c) if self.periodic else c[..., None]
            if self.coupled:
                cross = self._crosscovariances(sample.lagged(m, self.coupled, self.lags), c, coupling)
                self.crosscov[:, m] = torch.view_as_real(cross) if self.periodic else cross[..., None]
            if not complete:
                rest = left.clamp(min=0) / (self.size - modes) if sample.folds else values[modes:].mean()
                self.rest[0, m] = rest
                self.rest[1, m] = (residual[1] / residual[0].clamp(min=1e-12)).clamp(0, 0.99)

    @torch.no_grad()
    def inflate(self, factor: float) -> None:
        """Multiply all variances."""
        self.autocov.mul_(factor)
        self.rest[0].mul_(factor)
        if self.coupled:
            self.crosscov.mul_(factor)

    def _crosscovariances(self, lagged: Tensor, own: Tensor, coupling: float) -> Tensor:
        """Lag covariances ``(lags + 1, coupled, coupled)`` of the leading modes, whose own are `own`."""
        own = own[:, : self.coupled]
        root = lagged[0].diagonal().real.clamp(min=1e-12).rsqrt() * own[0].real.clamp(min=0).sqrt()
        return coupling * root[:, None] * lagged * root + (1 - coupling) * torch.diag_embed(own)

    def variances(self) -> Tensor:
        """Variances of all modes and, last, of what these leave out, ``(blocks, modes + 1)``."""
        return torch.cat([self.autocov[0, ..., 0], self.rest[0, :, None]], dim=1)

    def correlations(self, lags: int) -> Tensor:
        """Correlations of all modes, and of what these leave out, with themselves 1 to `lags` frames before.

        Returns
        -------
        Tensor
            Shape ``(lags, blocks, modes + 1)``; of waves that travel the real part.
        """
        cov = extend(_numbers(self.autocov, self), lags + 1).real
        own = (cov[1:] / cov[0].clamp(min=1e-12)).clamp(-1, 1).to(self.rest)
        lag = torch.arange(1, lags + 1, device=own.device)[:, None]
        return torch.cat([own, (self.rest[1] ** lag)[..., None]], dim=2)

    def like(self, variance: Tensor, correlation: Tensor) -> StationaryGaussian:
        """Return a process of the same modes with other variances, each an AR(1) process in time.

        Parameters
        ----------
        variance
            As `variances`.
        correlation
            Correlation from frame to frame, of the same shape.
        """
        modes = self.modes.shape[2]
        out = StationaryGaussian(
            self.latent_shape, periodic=self.periodic, modes=modes, lags=1, cut=self.layout.cut
        ).to(self.modes.device)
        # The same modes, and what is made of them.
        self.basis()
        out.modes, out._basis = self.modes, self._basis
        both = torch.stack([variance, variance * correlation])
        out.autocov[..., 0] = both[..., :-1]
        out.rest.copy_(torch.stack([variance[:, -1], correlation[:, -1]]))
        return out

    def basis(self) -> Tensor:
        """Orthonormal modes ``(blocks, size, modes)``, made once; scale and rounding of stored ones are repaired."""
        known = self._basis
        if known is not None and known[0] is self.modes and known[1] == self.modes._version:
            return known[2]
        v = self.modes.float()
        v = v / v.square().sum((1, 3), keepdim=True).sqrt().clamp(min=1e-12)
        v = torch.view_as_complex(v.contiguous()) if self.periodic else v[..., 0]
        gram = v.mH @ v
        # One Newton-Schulz step brings a nearly orthonormal basis to second order in its defect.
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        basis = v @ (1.5 * eye - 0.5 * gram)
        self._basis = self.modes, self.modes._version, basis
        return basis

    def quantized(self) -> Tensor:
        """Modes in eight bits, each scaled by its largest element; `basis` undoes the scaling."""
        largest = self.modes.abs().amax((1, 3), keepdim=True).clamp(min=1e-12)
        return torch.round(self.modes / largest * 127).to(torch.int8)


class TrajectoryGaussian:
    """Distribution of ``L`` frames of the process, in the coordinates where its covariance is diagonal.

    Parameters
    ----------
    process
        Modes and autocovariances.
    length
        Number of frames ``L``.
    """

    def __init__(self, process: StationaryGaussian, length: int) -> None:
        self.process = process
        self.length = length
        self.basis = process.basis()
        self._couple(process)
        cov = _numbers(process.autocov, process)[:, :, process.coupled :]
        lagged = extend(cov, length)
        index = torch.arange(length, device=cov.device)
        lag = index[:, None] - index[None, :]
        matrix = lagged[lag.abs()].permute(2, 3, 0, 1)  # (blocks, modes, L, L)
        if process.periodic:
            matrix = torch.where(lag >= 0, matrix, matrix.conj())
        values, vectors = eigh(matrix)
        self.values = values.clamp(min=1e-6).float()
        self.vectors = vectors.to(self.basis.dtype)
        variance, rho = process.rest.double()
        rest = variance[:, None, None] * rho[:, None, None] ** lag.abs()
        values, vectors = eigh(rest)
        self.rest_values = values.clamp(min=1e-6).float()
        self.rest_vectors = vectors.float()

    def _couple(self, process: StationaryGaussian) -> None:
        """Diagonalise the covariance of the coupled modes, ``(blocks, coupled L, coupled L)``; modes lead."""
        if not process.coupled:
            return
        cov = _numbers(process.crosscov, process).movedim(1, 0)  # (blocks, lag, J, J)
        index = torch.arange(self.length, device=cov.device)
        lag = index[:, None] - index[None, :]
        lagged = torch.stack([extend_coupled(c, self.length) for c in cov])
        matrix = lagged[:, lag.abs()]  # (blocks, L, L, J, J)
        matrix = torch.where((lag >= 0)[..., None, None], matrix, matrix.mH)
        values, vectors = eigh(matrix.permute(0, 3, 1, 4, 2).flatten(3, 4).flatten(1, 2))
        self.coupled_values = values.clamp(min=1e-6).float()
        self.coupled_vectors = vectors.to(self.basis.dtype)

    def _coupled(self, function: Callable[[Tensor], Tensor], amplitude: Tensor) -> Tensor:
        """Apply a function of the covariance to the amplitudes of the coupled modes, ``(blocks, coupled, L, B)``."""
        flat = amplitude.flatten(1, 2)
        turned = (self.coupled_vectors.mT @ flat.conj().resolve_conj()).conj()
        return (self.coupled_vectors @ (function(self.coupled_values[..., None]) * turned)).reshape(amplitude.shape)

    def apply(self, function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        """Apply a function of the covariance to trajectories.

        Parameters
        ----------
        function
            Maps eigenvalues, whose last axis broadcasts against the batch, to factors of the same shape.
        z
            Trajectories, shape ``(B, L, z, z_lat, z_lon)``.
        """
        f = self.process.to_blocks(z)  # (m, B, L, n)
        blocks, batch, length, size = f.shape
        flat = f.reshape(blocks, batch * length, size)
        # Conjugates of what is small, as torch would copy the conjugate of the modes at every product.
        amplitude = (flat.conj().resolve_conj() @ self.basis).conj()
        amplitude = amplitude.reshape(blocks, batch, length, -1).permute(0, 3, 2, 1)  # (m, k, L, B)
        coupled = self.process.coupled
        factor = function(self.values[..., None])
        turned = (self.vectors.mT @ amplitude[:, coupled:].conj().resolve_conj()).conj()
        filtered = self.vectors @ (factor * turned)
        if coupled:
            filtered = torch.cat([self._coupled(function, amplitude[:, :coupled]), filtered], dim=1)
        filtered = filtered.permute(0, 3, 2, 1)  # (m, B, L, k)
        if self.basis.shape[1] == self.basis.shape[2]:
            out = filtered.reshape(blocks, batch * length, -1) @ self.basis.mT
            return self.process.from_blocks(out.reshape(blocks, batch, length, size))
        # What the modes leave out is treated as the whole is, less what that makes of the modes.
        rest = self._in_time(function)
        filtered = filtered - _times(rest, amplitude.permute(0, 3, 2, 1))
        out = filtered.reshape(blocks, batch * length, -1) @ self.basis.mT
        out = out.reshape(blocks, batch, length, size) + _times(rest, flat.reshape(f.shape))
        return self.process.from_blocks(out)

    def _in_time(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply a function to the covariance in time of what the modes leave out, ``(m, B or 1, L, L)``."""
        factor = function(self.rest_values[..., None]).movedim(-1, 1)[:, :, None]
        vectors = self.rest_vectors[:, None]
        return (vectors * factor) @ vectors.mT

    def mean(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Wiener filter: the expected trajectory given ``x_t = alpha z + sigma noise``."""
        return self.apply(lambda d: alpha * d / (alpha**2 * d + sigma**2), x_t)

    def covariance(self, v: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Covariance of the trajectory given ``x_t``, applied to `v`."""
        return self.apply(lambda d: d * sigma**2 / (alpha**2 * d + sigma**2), v)

    def mean_variance(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the posterior variance given ``x_t``, averaged over all elements; shape of `sigma`."""
        a2, s2 = (alpha**2)[..., None, None, None], (sigma**2)[..., None, None, None]
        return self.average(lambda d: d * s2 / (a2 * d + s2))

    def average(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the mean of a function of the covariance over all directions: its trace over its size.

        Parameters
        ----------
        function
            Maps eigenvalues to numbers of the same shape, after any leading axes, which are kept.
        """
        process = self.process
        modes = self.basis.shape[2]
        # Waves between the mean and Nyquist stand for two real coefficients.
        weight = torch.ones(process.blocks, 1, 1, device=self.values.device)
        if process.periodic:
            weight[1:] = 2.0
            if process.layout.is_real(process.blocks - 1):
                weight[-1] = 1.0
        total = (weight * function(self.values)).sum((-1, -2, -3))
        if process.coupled:
            total = total + (weight * function(self.coupled_values[:, None])).sum((-1, -2, -3))
        rest = (weight * function(self.rest_values[:, None])).sum((-1, -2, -3))
        total = total + (process.size - modes) * rest
        channels, lat, lon = process.latent_shape
        return total / (channels * lat * lon * self.length)


def _numbers(stored: Tensor, process: StationaryGaussian) -> Tensor:
    """Covariances in double precision, from pairs of real and imaginary parts on a periodic grid."""
    return torch.view_as_complex(stored.double().contiguous()) if process.periodic else stored.double()[..., 0]


def _times(matrix: Tensor, f: Tensor) -> Tensor:
    """Multiply real matrices in time ``(m, B or 1, L, L)`` with blocks ``(m, B, L, n)``, real or complex."""
    if not f.is_complex():
        return matrix @ f
    parts = torch.view_as_real(f.resolve_conj().contiguous()).flatten(-2)
    return torch.view_as_complex((matrix @ parts).unflatten(-1, (-1, 2)))


def _smooth(correlation: Tensor, width: int) -> Tensor:
    """Return the running mean over `width` neighbouring modes, fewer at both ends."""
    if width == 1:
        return correlation
    index = torch.arange(len(correlation), device=correlation.device)
    near = (index[:, None] - index).abs() <= width // 2
    weight = near.to(correlation.real.dtype) / near.sum(1, keepdim=True)
    return weight.to(correlation.dtype) @ correlation
