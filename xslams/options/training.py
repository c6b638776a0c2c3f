"""Settings of training, each with its default and its bounds."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from xslams.arguments import is_number, is_whole, require, require_whole, shown
from xslams.errors import OptionError
from xslams.typing import PRECISIONS, Precision

__all__ = ["SystemTrainingOptions", "TrainingOptions"]

# What no training needs, and what a slip of the hand would fill the memory with: sizes of layers and numbers of modes,
# layers, lags and harmonics, samples at a time, passes, updates; and any other number.
_MOST_WIDE, _MOST_DEEP, _MOST_LAGS, _MOST_BATCH, _MOST_PASSES, _MOST_UPDATES = 2**16, 64, 1000, 2**20, 100_000, 10**9
_LARGEST = 1e9
# Shorter local covariances than this, in km, take too many functions of place.
_LEAST_LENGTH = 500.0


@dataclass(frozen=True)
class _TrainingOptions:
    """What options of training have in common: they come from keyword arguments and check themselves."""

    @classmethod
    def of(cls, given: Mapping[str, Any] | None = None, /, **more: Any) -> Self:
        """Make options from a mapping and keyword arguments, which override it; the others have their defaults.

        Raises
        ------
        OptionError
            If an option is unknown or its value is out of range.

        Examples
        --------
        >>> TrainingOptions.of({"patch": 2}, epochs=10).patch
        2
        >>> TrainingOptions.of(mode=4)
        Traceback (most recent call last):
        xslams.errors.OptionError: Unknown option 'mode'. Did you mean 'modes'? Choose from 'epochs', ...
        """
        values = {**(given or {}), **more}
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                meant = f" Did you mean {near[0]!r}?" if near else ""
                msg = f"Unknown option {shown(name)}.{meant} Choose from {', '.join(map(repr, known))}."
                raise OptionError(msg)
        return cls(**values)

    def _require_whole(self, least: int, most: int, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            require_whole(name, value, least, most)
            # The header of a model file holds Python's integers and not those of numpy.
            object.__setattr__(self, name, int(value))

    def _require_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            holds = is_number(value) and 0 < value <= _LARGEST
            require(holds, name, value, f"a positive number of at most {_LARGEST:g}")

    def _require_fraction(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            require(is_number(value, 0) and value < 1, name, value, "a number from 0 to below 1")

    def _require_flag(self, name: str) -> None:
        require(isinstance(getattr(self, name), bool), name, getattr(self, name), "True or False")


@dataclass(frozen=True)
class TrainingOptions(_TrainingOptions):
    """Settings of the training of a model of gridded fields, see `xslams.training.fit_arrays`.

    The defaults are the plainest Gaussian, which a few hundred frames determine. `ds.slams.fit` begins there, and
    chooses what is not given by its skill on frames that are held out.

    Attributes
    ----------
    epochs
        Passes of the score network over the training windows. 30 are enough for some years of daily fields; 0 leaves
        the Gaussian prior alone.
    latent_channels
        Channels of a latent frame. None: three tenths of the values of a patch, at least 4, of which `ds.slams.fit`
        makes half or all where held-out frames say so; with ``patch=1`` as many as the fields have, and the autoencoder
        is the identity.
    patch
        Factor by which the latent grid is coarser than that of the fields, in latitude and longitude. 1 loses nothing;
        4 leaves a sixteenth of the cells, which is what makes the score network affordable.
    hidden
        Width of the nonlinear branch of the encoder; 0 leaves the linear branch alone.
    autoencoder_epochs
        Passes of the autoencoder over the frames. Few are needed, as it starts from the leading patterns of single
        patches; 0 leaves it there.
    aux_weight
        Weight of the error of auxiliary variables in the loss of the autoencoder, relative to that of the state. Below
        1, as they are observed and not analysed.
    modes
        Modes of the Gaussian prior, per zonal wavenumber on a grid that is periodic in longitude, else of the whole
        frame; what they leave out is white noise in space.
    lags
        Largest lag, in frames, whose autocovariances the Gaussian prior stores; an autoregression extends them.
    coupled
        Number of leading modes of the Gaussian prior that are coupled in time: each learns from the others a frame
        before and after.
    coupling
        Weight, 0 to 1, of the lag correlations between coupled modes that the sample has, against none.
    seasonal
        Number of leading modes, per zonal wavenumber or of the whole frame, whose covariances vary with the season; 0
        takes one covariance for the whole year.
    seasonality
        Weight, 0 to 1, of the covariance of a season against that of the year.
    local
        Number of leading modes, of all zonal wavenumbers together, whose covariances differ from place to place along
        latitude circles, on grids that are periodic in longitude; a wave counts as two. 0 takes the same statistics
        everywhere along a circle. A thousand take 2 MB of a model file, two thousand 8 MB. Elsewhere covariances differ
        from place to place without it.
    locality
        Weight, 0 to 1, of the covariance of a place against that of its latitude circle.
    local_length
        Half of the distance, in km through the Earth, at which the covariance of a place is tapered to zero; at least
        500.
    shrinkage
        Weight, 0 to 1, of the mean variance of all modes against their own. 0 trusts the sample.
    localization
        Half of the distance, in km, at which the covariance of the Gaussian prior is tapered to zero. None: nowhere. It
        pays with few frames. On grids that are periodic in longitude, where statistics are homogeneous along a latitude
        circle, it is the distance between latitudes.
    smoothing
        Number of modes of like variance over which lag correlations are averaged, odd. 1 keeps those of every mode;
        with few frames these are noise.
    folds
        Number of contiguous parts of the data, each of which in turn measures the variances of modes that were found
        without it. 0 measures them on the frames of which the modes were made, which overrates the leading ones.
    inflation
        Factor on all variances of the Gaussian prior.
    spread
        Factors on the standard deviation of each channel of the state under the prior, which bring the spread of its
        posterior to its error; none at all, ``()``, leaves it as it is.
    mean_order
        Number of annual harmonics of the mean of every cell.
    std_order
        Number of annual harmonics of the logarithm of the standard deviation of every cell.
    day_order
        Number of harmonics of the day in the mean of every cell, which vary with the season; as many at most as the
        times of the day in the data tell, none where frames are days or longer.
    normal_scores
        Names of variables whose values are turned into those of a standard normal variable with the same rank, such as
        rain, fractions, or anything with a bound at which many values lie.
    width
        Channels of the score network at each resolution, finest first, multiples of 8. None at all, ``()``, leaves the
        Gaussian prior alone.
    blocks
        Residual blocks of the score network at each resolution, on the way down and again on the way up.
    location
        Learned features of the score network per latent cell, which stand for coasts, orography and latitude.
    dropout
        Dropout rate inside the blocks of the score network, as years of daily fields are few for a network.
    batch
        Frames or windows per step of the optimiser.
    learning_rate
        Largest learning rate of the score network.
    weight_decay
        Weight decay of the score network.
    ema
        Decay per step of the moving average of the weights of the score network, which is what the model keeps.
    sigma_median, sigma_spread
        Median of the noise levels of training, relative to latents of unit variance, and standard deviation of their
        logarithm. Levels between a tenth and ten are where the network has something to learn: below, the noisy latents
        themselves are a good estimate; above, the climate is.
    holdout
        Share of the frames at the end of each stretch of data on which the score network is calibrated and not trained.
    trust
        Factor on the posterior variance that calibration finds. Below 1 the analysis relies more on the prior; it is
        for models whose members follow the observations too closely.
    patience
        Epochs of the score network without a better score on the frames held out (see `holdout`) after which its
        training ends, with the weights of the best epoch. None: it ends after all epochs, with the last weights.
    precision
        ``"float32"``, or ``"bf16"``: the score network is trained in bfloat16, which is faster on processors that know
        it. Devices that do not are refused.
    memory
        GiB of frames, in single precision, that are kept in memory. What is larger goes to a temporary file, and the
        covariances of the Gaussian prior are those of stretches that are spread over the data and fit.

    Raises
    ------
    OptionError
        If a value is out of range.

    Examples
    --------
    >>> TrainingOptions(patch=0)
    Traceback (most recent call last):
    xslams.errors.OptionError: patch=0; expected a whole number from 1 to 65536.
    """

    epochs: int = 0
    latent_channels: int | None = None
    patch: int = 1
    hidden: int = 0
    autoencoder_epochs: int = 0
    aux_weight: float = 0.5
    modes: int = 100
    lags: int = 4
    coupled: int = 0
    coupling: float = 0.5
    seasonal: int = 0
    seasonality: float = 0.5
    local: int = 0
    locality: float = 0.8
    local_length: float = 8000.0
    shrinkage: float = 0.0
    localization: float | None = None
    smoothing: int = 1
    folds: int = 4
    inflation: float = 1.0
    spread: tuple[float, ...] = ()
    mean_order: int = 1
    std_order: int = 0
    day_order: int = 2
    normal_scores: tuple[str, ...] = ()
    width: tuple[int, ...] = (96, 128)
    blocks: int = 2
    location: int = 16
    dropout: float = 0.1
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    ema: float = 0.995
    sigma_median: float = 1.0
    sigma_spread: float = 1.4
    holdout: float = 0.05
    trust: float = 1.0
    patience: int | None = None
    precision: Precision = "float32"
    memory: float = 2.0

    def __post_init__(self) -> None:
        self._require_whole(1, _MOST_WIDE, "patch", "modes", "smoothing")
        self._require_whole(1, _MOST_DEEP, "blocks")
        self._require_whole(1, _MOST_BATCH, "batch")
        self._require_whole(0, _MOST_PASSES, "epochs", "autoencoder_epochs")
        self._require_whole(0, _MOST_WIDE, "hidden", "location", "folds", "coupled", "seasonal", "local")
        self._require_whole(0, _MOST_LAGS, "lags", "mean_order", "std_order", "day_order")
        require(self.smoothing % 2 == 1, "smoothing", self.smoothing, "an odd number of modes")
        require(self.folds != 1, "folds", self.folds, "0 or at least 2, as other parts give the modes of each")
        if self.latent_channels is not None:
            self._require_whole(1, _MOST_WIDE, "latent_channels")
        if self.localization is not None:
            self._require_positive("localization")
        self._require_positive("inflation", "aux_weight", "learning_rate", "sigma_median", "trust", "memory")
        self._require_fraction("dropout", "ema", "holdout")
        length = self.local_length
        holds = is_number(length, _LEAST_LENGTH) and length <= _LARGEST
        require(holds, "local_length", length, f"a length from {_LEAST_LENGTH:g} km")
        for name in ("shrinkage", "coupling", "seasonality", "locality"):
            value = getattr(self, name)
            require(is_number(value, 0) and value <= 1, name, value, "a number from 0 to 1")
        for name in ("weight_decay", "sigma_spread"):
            value = getattr(self, name)
            holds = is_number(value, 0) and value <= _LARGEST
            require(holds, name, value, f"a number from 0 to {_LARGEST:g}")
        if self.patience is not None:
            self._require_whole(1, _MOST_PASSES, "patience")
            require(self.holdout > 0, "holdout", self.holdout, "a share above 0, on which patience= looks")
        precision: object = self.precision
        known = isinstance(precision, str) and precision in PRECISIONS
        require(known, "precision", precision, " or ".join(map(repr, PRECISIONS)))
        spread: object = self.spread
        factors = isinstance(spread, tuple | list) and all(is_number(f) and 0.1 <= f <= 10 for f in spread)
        require(factors, "spread", spread, "factors from 0.1 to 10, one for each channel of the state, or ()")
        object.__setattr__(self, "spread", tuple(float(f) for f in self.spread))
        names: object = self.normal_scores
        named = isinstance(names, tuple | list) and all(isinstance(n, str) for n in names)
        require(named and len(set(self.normal_scores)) == len(self.normal_scores), "normal_scores", names,
                "names of different variables, or ()")  # fmt: skip
        object.__setattr__(self, "normal_scores", tuple(self.normal_scores))
        width: object = self.width
        widths = isinstance(width, tuple | list) and all(is_whole(w, 8, _MOST_WIDE) and w % 8 == 0 for w in width)
        expected = f"multiples of 8 up to {_MOST_WIDE}, one for each resolution, such as (96, 128)"
        require(widths and len(self.width) <= _MOST_DEEP, "width", width, expected)
        object.__setattr__(self, "width", tuple(int(w) for w in self.width))


@dataclass(frozen=True)
class SystemTrainingOptions(_TrainingOptions):
    """Settings of the training of a model of trajectories of a small system, see `xslams.training.fit_system`.

    Sizes are in numbers per site, of which a system without space has one. The defaults are for the equations of Lorenz
    (1963).

    Attributes
    ----------
    memory
        Size of the memory of each of the two filters.
    hidden
        Width of the hidden layers of the filters.
    reach
        Sites on both sides that the filters see of each frame.
    blocks
        Whether the filters estimate a block-tridiagonal precision matrix of the trajectory instead of a diagonal one;
        for one site only.
    products
        Width of the two layers of products in the step from frame to frame.
    step_reach
        Sites on both sides that each layer of the step sees.
    substeps
        How many times the layers of the step are applied from frame to frame. Once is enough for most; several times
        where a polynomial of fourth degree does not carry to the next frame.
    length
        Frames of a training sample of the filters.
    steps, batch
        Steps of the optimiser of the filters, and samples in each.
    learning_rate
        Largest learning rate of the filters.
    noise
        Smallest and largest noise level of training, relative to states of unit variance; they span what the noise
        schedule of sampling asks for.
    ema
        Decay per step of the moving average of the weights of the filters, which is what the model keeps.
    transition_steps, transition_batch
        Steps of the optimiser of the step from frame to frame, and pairs of frames in each.
    transition_learning_rate
        Its largest learning rate.

    Raises
    ------
    OptionError
        If a value is out of range.
    """

    memory: int = 48
    hidden: int = 96
    reach: int = 0
    blocks: bool = True
    products: int = 48
    step_reach: int = 0
    substeps: int = 1
    length: int = 48
    steps: int = 4000
    batch: int = 256
    learning_rate: float = 3e-3
    noise: tuple[float, float] = (0.004, 30.0)
    ema: float = 0.99
    transition_steps: int = 1500
    transition_batch: int = 4096
    transition_learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        self._require_whole(1, _MOST_WIDE, "memory", "hidden", "products", "length")
        self._require_whole(1, _MOST_LAGS, "substeps")
        self._require_whole(1, _MOST_UPDATES, "steps", "transition_steps")
        self._require_whole(1, _MOST_BATCH, "batch", "transition_batch")
        self._require_whole(0, _MOST_LAGS, "reach", "step_reach")
        self._require_positive("learning_rate", "transition_learning_rate")
        self._require_fraction("ema")
        self._require_flag("blocks")
        noise: object = self.noise
        pair = isinstance(noise, tuple | list) and len(noise) == 2 and all(is_number(level, 0) for level in noise)
        holds = pair and 0 < self.noise[0] < self.noise[1] <= _LARGEST
        require(holds, "noise", noise, f"a positive level and a larger one of at most {_LARGEST:g}")
        object.__setattr__(self, "noise", (float(self.noise[0]), float(self.noise[1])))
