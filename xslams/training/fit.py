r"""Train a model: normalisation, autoencoder, Gaussian prior, score network, one after the other.

The score network learns the correction to the Gaussian denoiser in units of the Gaussian's posterior standard deviation
:math:`s_t`, that is it minimises

.. math:: \mathbb{E} \left\| F_\theta - \frac{z - G_t(z_t)}{s_t} \right\|^2_W

over noise levels drawn log-normally, where :math:`W` weighs latents by the physical standard deviation that they stand
for. Whatever the network fails to learn, the Gaussian prior remains: with little data, a network that starts from
scratch first has to learn what a covariance matrix already says.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from xslams.errors import ModelError
from xslams.model import Model
from xslams.priors.denoiser import TrajectoryDenoiser
from xslams.priors.latent import CALIBRATION_LEVELS, Networks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xslams.priors.gaussian import TrajectoryGaussian
    from xslams.spec import Spec
    from xslams.typing import FloatArray

__all__ = ["DEFAULTS", "fit_arrays"]

DEFAULTS: dict[str, Any] = {
    "patch": 4,
    "hidden": 64,
    "modes": 100,
    "lags": 4,
    "width": (96, 128),
    "blocks": 2,
    "location": 16,
    "dropout": 0.1,
    "mean_order": 2,
    "std_order": 1,
    "aux_weight": 0.5,
    "autoencoder_epochs": 20,
    "batch": 32,
    "learning_rate": 1e-3,
    "weight_decay": 1e-2,
    "ema": 0.995,
    "sigma_median": 1.0,
    "sigma_spread": 1.4,
    "shrinkage": 0.0,
    "localization": None,
    "smoothing": 1,
    "folds": 0,
    "holdout": 0.05,
    "half_precision": False,
    "trust": 1.0,
}
_ARCHITECTURE = (
    "patch",
    "hidden",
    "modes",
    "lags",
    "width",
    "blocks",
    "location",
    "dropout",
    "mean_order",
    "std_order",
)


def fit_arrays(
    spec: Spec,
    runs: Sequence[tuple[FloatArray, FloatArray]],
    *,
    latent_channels: int | None = None,
    epochs: int = 30,
    device: str | None = None,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> Model:
    """Train a model on arrays.

    Parameters
    ----------
    spec
        Variables, grid, time step and window; its architecture is filled in here.
    runs
        Contiguous stretches: fields ``(T, channel, lat, lon)`` in physical units and fractions of the year ``(T,)``.
        Windows never cross from one stretch to the next.
    latent_channels
        Channels of a latent frame; by default a third of the values of a patch.
    epochs
        Passes of the score network over the training windows; 0 leaves the Gaussian prior alone.
    device
        Torch device; by default the GPU where there is one.
    seed
        Seed of initial weights, noise and order.
    progress
        Whether to show progress bars.
    **options
        Any of `DEFAULTS`.

    Returns
    -------
    Model
        The trained model, in memory.

    Raises
    ------
    ModelError
        If an option is unknown or the data are too short for one window.
    """
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        msg = f"Unknown training options {unknown}; known are {sorted(DEFAULTS)}."
        raise ModelError(msg)
    o = {**DEFAULTS, **options}
    if not any(len(fields) >= spec.window for fields, _ in runs):
        longest = max((len(fields) for fields, _ in runs), default=0)
        msg = (
            f"Training needs at least {spec.window} consecutive frames (the window); the longest stretch has {longest}."
        )
        raise ModelError(msg)
    if latent_channels is None:
        latent_channels = spec.channels if o["patch"] == 1 else max(spec.channels * o["patch"] ** 2 * 3 // 10, 4)
    architecture = {k: o[k] for k in _ARCHITECTURE} | {"latent_channels": latent_channels}
    if epochs == 0:
        architecture["width"] = ()
    spec = dataclasses.replace(spec, architecture=architecture)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    # The caller's random state is not ours to change.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = Networks(spec).to(device)
        fields = [torch.as_tensor(np.asarray(f, dtype=np.float32), device=device) for f, _ in runs]
        seasons = [torch.as_tensor(np.asarray(s, dtype=np.float32), device=device) for _, s in runs]
        networks.normalization.fit(torch.cat(fields), torch.cat(seasons))
        frames = [networks.normalization.normalize(f, s) for f, s in zip(fields, seasons, strict=True)]
        del fields
        _fit_autoencoder(networks, spec, torch.cat(frames), o, progress=progress)
        with torch.no_grad():
            latents = [torch.cat([networks.autoencoder.encode(c) for c in f.split(64)]) for f in frames]
        del frames
        taper = None
        if o["localization"] is not None and not spec.periodic:
            taper = _taper(networks, spec, o["localization"]).to(device)
        networks.gaussian.fit(
            latents, shrinkage=o["shrinkage"], taper=taper, smoothing=o["smoothing"], folds=o["folds"]
        )
        if networks.score is not None:
            kept = [max(round((1 - o["holdout"]) * len(z)), min(len(z), spec.window)) for z in latents]
            training = [z[:n] for z, n in zip(latents, kept, strict=True)]
            _fit_score(networks, training, [s[:n] for s, n in zip(seasons, kept, strict=True)], epochs, o, progress)
            hidden = [z[n:] for z, n in zip(latents, kept, strict=True)]
            if any(len(z) >= spec.window for z in hidden):
                latents, seasons = hidden, [s[n:] for s, n in zip(seasons, kept, strict=True)]
            _calibrate(networks, latents, seasons, o["trust"])
    networks = networks.eval().requires_grad_(requires_grad=False)
    networks.round_to_storage()
    return Model(spec, prior=networks)


def _batches(count: int, size: int) -> Iterator[Tensor]:
    """Yield the indices of all samples in random order, in batches."""
    yield from torch.randperm(count).split(size)


def _fit_autoencoder(networks: Networks, spec: Spec, frames: Tensor, o: dict[str, Any], *, progress: bool) -> None:
    """Train encoder and decoder; afterwards set the latents' scale and what the decoder leaves out."""
    autoencoder = networks.autoencoder
    if not autoencoder.identity:
        importance = frames.new_tensor(
            [1.0 if v.role == "state" else o["aux_weight"] for v in spec.variables for _ in range(v.channels)]
        )
        autoencoder.start_from_patches(frames, importance)
        epochs = o["autoencoder_epochs"]
        area = torch.as_tensor(spec.area_weights(), dtype=frames.dtype, device=frames.device)[:, None]
        weight = importance[:, None, None] ** 2 * (0.3 + area)
        optimizer = torch.optim.Adam(autoencoder.parameters(), lr=1e-3)
        steps = epochs * -(-len(frames) // o["batch"])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
        with tqdm(total=steps, desc="autoencoder", disable=not progress, unit="step") as bar:
            for _ in range(epochs):
                for index in _batches(len(frames), o["batch"]):
                    u = frames[index.to(frames.device)]
                    loss = (weight * (autoencoder.decode(autoencoder.encode(u)) - u).square()).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
                    bar.update()
                    bar.set_postfix(loss=f"{loss.item():.4f}")
    with torch.no_grad():
        autoencoder.whiten(frames.split(64))
        square = torch.zeros_like(autoencoder.residual_std)
        for u in frames.split(64):
            square += (autoencoder.decode(autoencoder.encode(u)) - u).square().sum(0)
        autoencoder.residual_std.copy_((square / len(frames)).sqrt())


def _taper(networks: Networks, spec: Spec, length: float) -> Tensor:
    """Gaspari-Cohn localisation between the cells of a latent frame, for a length in km."""
    channels, lat, lon = networks.autoencoder.latent_shape
    patch = networks.autoencoder.patch
    latitudes = np.deg2rad(_coarse(spec.lat, patch, lat))
    longitudes = np.deg2rad(_coarse(spec.lon, patch, lon))
    phi, lam = (a.ravel() for a in np.meshgrid(latitudes, longitudes, indexing="ij"))
    xyz = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)
    distance = 6371.0 * np.arccos(np.clip(xyz @ xyz.T, -1, 1))
    r = torch.as_tensor(distance / length, dtype=torch.float32)
    near = -0.25 * r**5 + 0.5 * r**4 + 0.625 * r**3 - 5 / 3 * r**2 + 1
    r_ = r.clamp(min=1)
    far = r_**5 / 12 - 0.5 * r_**4 + 0.625 * r_**3 + 5 / 3 * r_**2 - 5 * r_ + 4 - 2 / (3 * r_)
    taper = torch.where(r < 1, near, torch.where(r < 2, far, torch.zeros_like(r)))
    return taper.repeat(channels, channels)


def _coarse(coordinate: Sequence[float], patch: int, size: int) -> FloatArray:
    """Coordinates of patches: the mean of those of their cells."""
    values = np.asarray(coordinate, dtype=float)
    padded = np.concatenate([values, np.repeat(values[-1:], size * patch - len(values))])
    return padded.reshape(size, patch).mean(axis=1)


def _fit_score(
    networks: Networks, latents: list[Tensor], seasons: list[Tensor], epochs: int, o: dict[str, Any], progress: bool
) -> None:
    """Train the score network and leave the moving average of its weights in place."""
    score = networks.score
    assert score is not None
    window = score.window
    starts = [(r, i) for r, z in enumerate(latents) for i in range(len(z) - window + 1)]
    denoiser = TrajectoryDenoiser(networks, seasons[0][:window])
    gaussian = denoiser.gaussian
    weight = networks.autoencoder.scale / networks.autoencoder.scale.mean()
    average = torch.optim.swa_utils.AveragedModel(
        score, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(o["ema"])
    )
    optimizer = torch.optim.AdamW(score.parameters(), lr=o["learning_rate"], weight_decay=o["weight_decay"])
    steps = epochs * -(-len(starts) // o["batch"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, o["learning_rate"], total_steps=steps, pct_start=min(0.1, 200 / steps), final_div_factor=1e3
    )
    score.train()
    recent: list[float] = []
    with tqdm(total=steps, desc="score network", disable=not progress, unit="step", mininterval=5) as bar:
        for _ in range(epochs):
            for index in _batches(len(starts), o["batch"]):
                pairs = [starts[i] for i in index.tolist()]
                z = torch.stack([latents[r][i : i + window] for r, i in pairs])
                season = torch.stack([seasons[r][i + window // 2] for r, i in pairs])
                sigma = o["sigma_median"] * torch.exp(o["sigma_spread"] * torch.randn(len(z), device=z.device))
                loss = _score_loss(score, gaussian, z, sigma, season, weight, half=o["half_precision"])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(score.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                average.update_parameters(score)
                recent = [*recent[-99:], loss.item()]
                bar.update()
                bar.set_postfix(loss=f"{sum(recent) / len(recent):.4f}", refresh=False)
    score.load_state_dict(average.module.state_dict())


def _score_loss(
    score: nn.Module,
    gaussian: TrajectoryGaussian,
    z: Tensor,
    sigma: Tensor,
    season: Tensor,
    weight: Tensor,
    *,
    half: bool,
) -> Tensor:
    """Weighted error of the network's correction, relative to the Gaussian's own posterior variance."""
    level = sigma[:, None, None, None, None]
    one = torch.ones_like(sigma)
    z_t = z + level * torch.randn_like(z)
    with torch.no_grad():
        mean = gaussian.mean(z_t, one, sigma)
        spread = gaussian.mean_variance(one, sigma).sqrt()[:, None, None, None, None]
    # The network alone: the Gaussian's small eigenvalues would drown in bfloat16.
    with torch.autocast(z.device.type, torch.bfloat16, enabled=half):
        output = score(z_t * torch.rsqrt(1 + level**2), mean, torch.log(sigma), season)
    return (weight * (output.float() - (z - mean) / spread).square()).mean()


@torch.no_grad()
def _calibrate(networks: Networks, latents: list[Tensor], seasons: list[Tensor], trust: float, count: int = 48) -> None:
    """Measure how good the network is on frames that it has not seen: damp it, and set the variance ratio.

    A network trained on a few years recognises them, and is too sure of itself in others: its correction is damped by
    the factor that serves best. What then is left of the Gaussian's error on the same frames is the ratio. It is not
    relative to the variance that the Gaussian expects: a few hundred frames may be calmer than others by a fifth, which
    is not the merit of the network. Latents count by the physical variance that they stand for, as in what is observed.
    Where members still follow the observations too closely, the ratio can be reduced by the factor `trust`.
    """
    score, gaussian = networks.score, networks.gaussian
    assert score is not None
    score.eval()
    window = score.window
    starts = [(r, i) for r, z in enumerate(latents) for i in range(len(z) - window + 1)]
    chosen = [starts[i] for i in torch.linspace(0, len(starts) - 1, min(count, len(starts))).long().tolist()]
    z = torch.stack([latents[r][i : i + window] for r, i in chosen])
    season = torch.stack([seasons[r][i + window // 2] for r, i in chosen])
    trajectory = gaussian.trajectory(window)
    weight = networks.autoencoder.scale.square()
    products = []  # of correction and correction, correction and error, relative to those of error and error
    for level in CALIBRATION_LEVELS:
        sigma = torch.full((len(z),), level, device=z.device)
        one = torch.ones_like(sigma)
        z_t = z + level * torch.randn_like(z)
        mean = trajectory.mean(z_t, one, sigma)
        spread = trajectory.mean_variance(one, sigma).sqrt()[:, None, None, None, None]
        scaled = z_t * torch.rsqrt(1 + sigma**2)[:, None, None, None, None]
        correction, error = spread * score(scaled, mean, torch.log(sigma), season), z - mean
        products.append(
            torch.stack([(weight * correction * other).mean() for other in (correction, error)])
            / (weight * error.square()).mean()
        )
    own, common = torch.stack(products).unbind(1)
    damping = (common.sum() / own.sum().clamp(min=1e-12)).clamp(0.0, 1.0)
    score.damp(float(damping))
    networks.calibration.copy_(trust * (1 - 2 * damping * common + damping**2 * own).clamp(0.1, 3.0))
