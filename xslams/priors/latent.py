"""All torch modules of a model together, built from its spec and filled from its file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from xslams.errors import ModelError
from xslams.networks.autoencoder import Autoencoder
from xslams.networks.layers import Periodic
from xslams.networks.normalization import Normalization
from xslams.networks.unet import ScoreNetwork
from xslams.priors.gaussian import GaussianPrior
from xslams.priors.system_networks import SystemNetworks

if TYPE_CHECKING:
    from pathlib import Path

    from xslams.spec import Spec

__all__ = ["CALIBRATION_LEVELS", "Networks", "load_networks"]

# Noise levels, relative to the signal, at which the calibration of a model is measured.
CALIBRATION_LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0)


class Networks(nn.Module):
    """Normalisation, autoencoder, Gaussian prior and score network of one model.

    Parameters
    ----------
    spec
        Its ``architecture`` names the sizes: ``latent_channels``, ``patch``, ``hidden``, ``modes``, ``lags``,
        ``width``, ``blocks``, ``location``, ``mean_order``, ``std_order``.
    """

    calibration: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        a: dict[str, Any] = spec.architecture
        self.normalization = Normalization(spec, a["mean_order"], a["std_order"])
        # Systems with two dimensions live on a square that is periodic in both.
        periodic: Periodic = "both" if spec.system and spec.periodic else spec.periodic
        self.autoencoder = Autoencoder(
            spec.frame_shape, a["latent_channels"], a["patch"], periodic=periodic, hidden=a["hidden"]
        )
        latent_shape = self.autoencoder.latent_shape
        self.gaussian = GaussianPrior(latent_shape, periodic=spec.periodic, modes=a["modes"], lags=a["lags"])
        # Posterior variance of the corrected denoiser over that of the Gaussian prior, at these logarithms of noise.
        self.register_buffer("calibration", torch.ones(len(CALIBRATION_LEVELS)))
        self.score: ScoreNetwork | None = None
        if a["width"]:
            self.score = ScoreNetwork(
                latent_shape,
                spec.window,
                periodic=periodic,
                width=tuple(a["width"]),
                blocks=a["blocks"],
                location=a["location"],
                dropout=a.get("dropout", 0.0),
            )

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
        exact = ("normalization.mean", "gaussian.autocov", "gaussian.rest")
        state = {k: v.detach().cpu() if k in exact else v.detach().cpu().half() for k, v in self.state_dict().items()}
        return state | {"gaussian.modes": self.gaussian.quantized().cpu()}

    def round_to_storage(self) -> None:
        """Round the weights to what a file would hold, so that a saved model is the model in memory."""
        self.load_state_dict(self.storage_state())


def load_networks(spec: Spec, path: Path) -> Networks | SystemNetworks:
    """Build the networks and load their weights, in evaluation mode and without gradients.

    Raises
    ------
    ModelError
        If the weights in the file are not those that the spec in its header describes.
    """
    try:
        networks = SystemNetworks(spec) if "memory" in spec.architecture else Networks(spec)
    except KeyError as e:
        msg = f"The spec of {path} lacks {e} in its architecture; the file is damaged or of another version of xslams."
        raise ModelError(msg) from e
    # Weights may be stored in half precision; load_state_dict casts them to the modules' own.
    try:
        networks.load_state_dict(load_file(path))
    except RuntimeError as e:
        msg = f"The weights in {path} do not fit the architecture in its header: {e}"
        raise ModelError(msg) from e
    return networks.eval().requires_grad_(requires_grad=False)
