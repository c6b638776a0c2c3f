r"""Training of the score network.

The network learns the correction to the Gaussian denoiser :math:`G_t` in units of the Gaussian's posterior standard
deviation :math:`s_t`, that is it minimises

.. math:: \mathbb{E} \left\| F_\theta - \frac{z - G_t(z_t)}{s_t} \right\|^2_W

over noise levels drawn log-normally, where :math:`W` weighs latents by the physical standard deviation that they stand
for. Whatever the network fails to learn, the Gaussian prior remains: with little data, a network that starts from
scratch first has to learn what a covariance matrix already says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.errors import OptionError
from xslams.training.loop import Batches, Watch, minimize, one_cycle
from xslams.training.monitor import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from xslams.networks.unet import ScoreNetwork
    from xslams.options import TrainingOptions
    from xslams.priors.gaussian import TrajectoryGaussian
    from xslams.priors.latent import LatentPrior
    from xslams.training.windows import Windows

__all__ = ["fit_score", "held_out_error", "noisy_windows", "require_precision"]

# Noise levels at which held-out windows are denoised on the way, and how many of these: enough to see a trend.
_LEVELS, _WINDOWS = (0.3, 1.0, 3.0), 32


def require_precision(options: TrainingOptions, device: torch.device) -> None:
    """Refuse a precision that the device does not compute in.

    Raises
    ------
    OptionError
        If it does not.
    """
    known = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False))
    if options.precision == "bf16" and not known:
        msg = f"precision='bf16'; expected 'float32', as the device {str(device)!r} does not compute in bfloat16."
        raise OptionError(msg)


def fit_score(
    networks: LatentPrior,
    windows: Windows,
    options: TrainingOptions,
    *,
    progress: bool = False,
    unseen: Windows | None = None,
    monitor: Monitor | None = None,
) -> None:
    """Train the score network in place, and leave it with the moving average of its weights.

    Parameters
    ----------
    networks
        Prior of a model, all of it trained but the score network.
    windows
        Windows of latent frames to train on.
    options
        Options of training.
    progress
        Whether to show a progress bar, where there is no monitor.
    unseen
        Windows that are held out, on which the network is scored on the way; none have no score.
    monitor
        Who watches.
    """
    monitor = monitor or Monitor(progress=progress)
    score = networks.score
    assert score is not None
    gaussian = networks.gaussian.trajectory(windows.length)
    weight = networks.autoencoder.scale / networks.autoencoder.scale.mean()

    batches = Batches(len(windows), options.batch, options.epochs)

    def losses() -> Iterator[Tensor]:
        for index in batches:
            z, season = windows.select(index)
            sigma = options.sigma_median * torch.exp(options.sigma_spread * torch.randn(len(z), device=z.device))
            yield _loss(score, gaussian, z, sigma, season, weight, half=options.precision == "bf16")

    optimizer = torch.optim.AdamW(score.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    schedule = one_cycle(optimizer, len(batches))
    evaluate = held_out_error(networks, unseen) if unseen else None
    minimize(
        score, losses(), optimizer, schedule, steps=len(batches), label="score network", progress=monitor.progress,
        ema=options.ema, watch=Watch(monitor, "score", networks, batches, evaluate, options.patience),
    )  # fmt: skip


def held_out_error(networks: LatentPrior, windows: Windows) -> Callable[[nn.Module], float]:
    """Return the squared error of a network as a denoiser of held-out windows, relative to that of the climatology.

    Parameters
    ----------
    networks
        The rest of the model.
    windows
        Windows that it has not seen.

    Returns
    -------
    function
        Of a score network: mean over noise levels, 1 for what knows nothing but the climatology. The noise is the same
        in every call, and the caller's generators of random numbers stay as they are.
    """
    z, season = windows.spread_out(_WINDOWS)
    gaussian = networks.gaussian.trajectory(windows.length)
    weight = networks.autoencoder.scale.square()
    with torch.random.fork_rng(devices=[z.device] if z.device.type == "cuda" else []):
        torch.manual_seed(0)
        noisy = [noisy_windows(gaussian, z, torch.full((len(z),), level, device=z.device)) for level in _LEVELS]

    @torch.no_grad()
    def error(score: nn.Module) -> float:
        errors = []
        for level, (z_t, mean, spread) in zip(_LEVELS, noisy, strict=True):
            log_sigma = torch.full((len(z),), level, device=z.device).log()
            errors.append((weight * (mean + spread * score(z_t, mean, log_sigma, season) - z).square()).mean())
        return float(torch.stack(errors).mean() / (weight * z.square()).mean())

    return error


@torch.no_grad()
def noisy_windows(gaussian: TrajectoryGaussian, z: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Add noise to windows, and let the Gaussian prior estimate them.

    Parameters
    ----------
    gaussian
        Gaussian prior over a window.
    z
        Windows, shape ``(B, window, z, z_lat, z_lon)``.
    sigma
        Noise level of each, shape ``(B,)``.

    Returns
    -------
    tuple
        Noisy windows of unit variance and their estimates, shape of `z`; posterior standard deviations of the
        estimates, which broadcast against them.
    """
    level = sigma[:, None, None, None, None]
    one = torch.ones_like(sigma)
    z_t = z + level * torch.randn_like(z)
    mean = gaussian.mean(z_t, one, sigma)
    spread = gaussian.mean_variance(one, sigma).sqrt()[:, None, None, None, None]
    return z_t * torch.rsqrt(1 + level**2), mean, spread


def _loss(
    score: ScoreNetwork,
    gaussian: TrajectoryGaussian,
    z: Tensor,
    sigma: Tensor,
    season: Tensor,
    weight: Tensor,
    *,
    half: bool,
) -> Tensor:
    """Weighted error of the network's correction, relative to the Gaussian's own posterior variance."""
    noisy, mean, spread = noisy_windows(gaussian, z, sigma)
    # The network alone: the Gaussian's small eigenvalues would drown in bfloat16.
    with torch.autocast(z.device.type, torch.bfloat16, enabled=half):
        output = score(noisy, mean, torch.log(sigma), season)
    return (weight * (output.float() - (z - mean) / spread).square()).mean()
