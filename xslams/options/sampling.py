"""How members are drawn: the names of guidance and samplers, and options of an ensemble and of its computation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from xslams.arguments import is_whole, require, require_flag, require_whole
from xslams.progress import require_progress
from xslams.registries import Registry
from xslams.typing import PRECISIONS, GuidanceName, Precision, SamplerName

if TYPE_CHECKING:
    from xslams.inference.guidance import Guidance
    from xslams.inference.samplers import Sampler

__all__ = [
    "GUIDANCE",
    "MOST_MEMBERS",
    "MOST_SEED",
    "SAMPLERS",
    "ComputeOptions",
    "EnsembleOptions",
    "SamplerOptions",
]

#: Guidance by name, each with its defaults. Names are known without torch, which the methods need.
GUIDANCE: Registry[Callable[[], Guidance]] = Registry(
    "guidance", home="xslams.inference.guidance", shipped=get_args(GuidanceName), methods=("weights", "increment")
)
#: Samplers by name, each with its defaults.
SAMPLERS: Registry[Callable[[], Sampler]] = Registry(
    "sampler", home="xslams.inference.samplers", shipped=get_args(SamplerName), methods=("sample",)
)


#: Largest ensemble; what is beyond is a slip of the hand, and would fill the memory before anything is drawn.
MOST_MEMBERS = 2**20
#: Largest seed, which numpy and torch both take.
MOST_SEED = 2**63 - 1
# No sampler gains from more, and a slip of the hand would run for ever.
_MOST_STEPS = 100_000


@dataclass(frozen=True)
class SamplerOptions:
    """How members are drawn from the posterior.

    Attributes
    ----------
    guidance
        Name in `GUIDANCE`, or a guidance with its settings.
    sampler
        Name in `SAMPLERS`, or a sampler with its settings. ``"auto"`` draws members of a Gaussian prior by one solve
        each, see `xslams.inference.exact`.
    steps
        Network calls per member, without corrections.
    corrections
        Langevin corrections at every noise level but the first and the last, one more call each.
    antithetic
        Whether member ``2 k + 1`` has the negated noise of member ``2 k``.

    Raises
    ------
    OptionError
        If a name is not registered, or a number is out of range.

    Examples
    --------
    >>> SamplerOptions(steps=16).guidance
    'mmps'
    >>> SamplerOptions(sampler="unipcc")
    Traceback (most recent call last):
    xslams.errors.OptionError: Unknown sampler 'unipcc'. Did you mean 'unipc'? Choose one of 'auto', 'ab2', ...
    """

    guidance: str | Guidance = "mmps"
    sampler: str | Sampler = "auto"
    steps: int = 32
    corrections: int = 0
    antithetic: bool = False

    def __post_init__(self) -> None:
        GUIDANCE.check_part(self.guidance)
        SAMPLERS.check_part(self.sampler)
        require_whole("steps", self.steps, 1, _MOST_STEPS)
        require_whole("corrections", self.corrections, 0, _MOST_STEPS)
        require_flag(antithetic=self.antithetic)


@dataclass(frozen=True)
class ComputeOptions:
    """Where and how torch computes; the draws are the same to rounding.

    Attributes
    ----------
    device
        Torch device, such as ``"cpu"`` or ``"cuda"``; by default the GPU where there is one.
    batch_size
        Members at a time on a GPU; ``"auto"`` takes as many as fit, and fewer where memory runs out. A CPU takes them
        one by one, with one thread for each.
    precision
        ``"float32"``, or ``"bf16"``: the networks in bfloat16.
    compile
        Whether to compile the networks with `torch.compile`.
    """

    device: str | None = None
    batch_size: int | Literal["auto"] = "auto"
    precision: Precision = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        size = self.batch_size
        automatic = isinstance(size, str) and size == "auto"
        require(automatic or is_whole(size, 1), "batch_size", size, "'auto' or a whole number of at least 1")
        precision: object = self.precision
        known = isinstance(precision, str) and precision in PRECISIONS
        require(known, "precision", self.precision, " or ".join(map(repr, PRECISIONS)))
        require_flag(compile=self.compile)


@dataclass(frozen=True)
class EnsembleOptions:
    """What is drawn: how many members, from which noise, over which stretches of time.

    Attributes
    ----------
    members
        Size of the ensemble, at most `MOST_MEMBERS`.
    overlap
        Frames computed and thrown away at both ends of each analysis window, or ``"auto"``.
    seed
        Whole number of at least 0 that makes the noise.
    progress, report
        Whether to show a progress bar (None: where a person waits), and to carry a report on the observations along.

    Raises
    ------
    OptionError
        If a value is out of range.

    Examples
    --------
    >>> EnsembleOptions(seed=-1)
    Traceback (most recent call last):
    xslams.errors.OptionError: seed=-1; expected a whole number from 0 to 9223372036854775807.
    """

    members: int = 16
    overlap: int | Literal["auto"] = "auto"
    seed: int = 0
    progress: bool | None = None
    report: bool = False

    def __post_init__(self) -> None:
        expected = f"a positive whole number of at most {MOST_MEMBERS}"
        require(is_whole(self.members, 1, MOST_MEMBERS), "members", self.members, expected)
        automatic = isinstance(self.overlap, str) and self.overlap == "auto"
        require(automatic or is_whole(self.overlap, 0), "overlap", self.overlap, "'auto' or frames, 0 or more")
        require_whole("seed", self.seed, 0, MOST_SEED)
        require_progress(self.progress)
        require_flag(report=self.report)
