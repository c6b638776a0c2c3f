"""Mistakes of users end in errors of this package that say what to do, and not in tracebacks of torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from azula.denoise import Denoiser, GaussianDenoiser
from azula.linalg.covariance import DiagonalCovariance
from azula.noise import VESchedule
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from tests.pipeline.test_assimilate import waves
from xslams.errors import ObservationError, OptionError, SlamsError
from xslams.inference import prior_of, sample_posterior
from xslams.inference.batches import in_batches
from xslams.inference.guidance import DPS, MMPS, SDA, Guidance
from xslams.inference.guidance.base import Increment
from xslams.inference.samplers import Sampler, UniPC

SCHEDULE = VESchedule(0.01, 100.0)
FALLING = torch.linspace(0.5, 0, 4)


def sample(**changed):
    prior = GaussianDenoiser(torch.zeros(2), DiagonalCovariance(torch.ones(2)), SCHEDULE)
    problem = {"denoiser": prior, "y": torch.ones(2), "A": lambda z: z, "cov_y": 1.0, "shape": (2,), "members": 2}
    return sample_posterior(**problem | {"steps": 4} | changed)


class Mine(Denoiser):
    """A denoiser that returns what it is told to."""

    def __init__(self, estimate) -> None:
        super().__init__()
        self.estimate, self.schedule = estimate, SCHEDULE

    def forward(self, x, t, **_):
        return self.estimate(x, t)


class Mean:
    def __init__(self, mean) -> None:
        self.mean = mean


class Weights(Guidance):
    def __init__(self, weights) -> None:
        self._weights = weights

    def weights(self, problem, memory):
        return self._weights(problem)


class Unlike:
    """It has the method of a guidance, and nothing else that one has."""

    def weights(self, problem, memory):
        return problem.innovation, memory


class Added(Weights):
    def increment(self, problem, memory):
        return Increment(self._weights(problem), memory)


class Steps(Sampler):
    def __init__(self, steps) -> None:
        self._steps = steps

    def sample(self, run, x):
        return self._steps(x)


class Bare:
    def sample(self, run, x):
        return x


def raising(error):
    def operator(z):
        raise error

    return operator


MISTAKES = {
    "y": [[1.0, 1.0], np.ones(2), 1.0, None, torch.ones(2, dtype=torch.int64), torch.ones(2, dtype=torch.complex64),
          torch.tensor([1.0, math.nan]), torch.tensor(1.0), torch.ones(3), torch.ones(3, 2), torch.ones(1, 1, 2)],
    "A": [None, torch.eye(2), np.eye(2), torch.nn.Linear, lambda: None, lambda z: None, lambda z: z.detach().numpy(),
          lambda z: z.detach(), lambda z: z > 0, lambda z: z.long(), lambda z: z * math.nan, lambda z: z[0],
          lambda z: z.sum(-1), lambda z: z @ torch.ones(3), lambda z: z.mul_(2), raising(RuntimeError("a\nb")),
          raising(KeyError("t")), lambda z: z if len(z) == 1 else z[:, :1], lambda z: z.item()],
    "cov_y": [-1.0, 0.0, math.nan, math.inf, "1", None, True, torch.ones(3), torch.eye(2), [1.0, -1.0], [1.0],
              torch.ones(2, dtype=torch.complex64), DiagonalCovariance(torch.ones(3))],
    "shape": [2, (3,), (-1,), (2.0,), "2", (0,), None, (True,)],
    "members": [0, -1, 2.0, "two", None, True, 2**40, torch.tensor(2.0)],
    "generator": [0, "seed", np.random.default_rng(0)],
    "t": [1.0, [1.0, 0.0], np.linspace(1, 0, 4), torch.tensor(1.0), torch.ones(1), torch.linspace(0, 1, 4),
          torch.ones(3), torch.tensor([1.0, math.nan, 0.0]), torch.tensor([2.0, 0.5, 0.0]),
          torch.tensor([1.0, 0.5, -1.0]), torch.tensor([1, 0])],
    "start": [torch.ones(2, 2), np.ones((2, 2)), "members"],
    "denoiser": [None, lambda x, t: x, GaussianDenoiser, torch.nn.Linear(2, 2), Mine(lambda x, t: x),
                 Mine(lambda x, t: None),
                 Mine(lambda x, t: Mean(x[:, :1])), Mine(lambda x, t: x @ torch.ones(5)), Mine(lambda x, t: Mean(None)),
                 Mine(lambda x, t: Mean(x.detach())), Mine(lambda x, t: Mean(x * math.nan)), Mine(lambda x: x),
                 Mine(lambda x, t: Mean(x.long()))],
    "guidance": [MMPS, "mpms", 3, None, Unlike(), Weights(lambda p: None),
                 Weights(lambda p: (p.innovation[:, :1], None)),
                 Weights(lambda p: p.innovation @ torch.ones(7)), Weights(lambda p: (np.ones((2, 2)), None)),
                 Weights(lambda p: (p.innovation * math.nan, None)), Weights(lambda p: (None, None)),
                 Added(lambda p: p.mean[:, :1]), Added(lambda p: None), Added(lambda p: p.nothing)],
    "sampler": [UniPC, "uni", 3, None, Steps(lambda x: None), Steps(lambda x: x[:1]),
                Steps(lambda x: x @ torch.ones(9)), Steps(lambda x: x.numpy()), Bare()],
    "steps": [0, 2.0, "4", torch.tensor(4.0)],
    "antithetic": [1, "yes"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [(n, v) for n, values in MISTAKES.items() for v in values],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_a_mistake_in_a_problem_is_named(name, value):
    with pytest.raises(SlamsError) as caught:
        sample(**{name: value})
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) > 30 and text.rstrip().endswith((".", ")")), "it says what was expected"


def test_members_to_start_from_have_the_shape_of_members_and_are_finite():
    for start in (torch.ones(3, 2), torch.full((2, 2), math.nan), np.ones((2, 2))):
        with pytest.raises(OptionError, match="start"):
            sample(start=start, t=FALLING)
    assert sample(start=torch.ones(2, 2), t=FALLING).shape == (2, 2)


def test_the_part_at_fault_is_named_and_its_own_error_kept():
    with pytest.raises(
        OptionError, match=r"The operator A fails \(RuntimeError: size mismatch.*takes states"
    ) as caught:
        sample(A=lambda z: z @ torch.ones(3))
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(OptionError, match=r"Mine gives values of shape \(2, 1\) where \(2, 2\) is needed"):
        sample(denoiser=Mine(lambda x, t: Mean(x[:, :1])))
    with pytest.raises(OptionError, match=r"Weights gives values of shape \(2, 1\) where \(2, 2\) is needed"):
        sample(guidance=Weights(lambda p: (p.innovation[:, :1], None)))
    with pytest.raises(OptionError, match="Steps gives a NoneType where a torch tensor is needed"):
        sample(sampler=Steps(lambda x: None))
    # An error that says already what is wrong stays what it is.
    with pytest.raises(ObservationError, match="mine"):
        sample(A=raising(ObservationError("mine")))


@settings(max_examples=20)
@given(st.lists(st.integers(1, 4), max_size=3), st.integers(1, 4))
def test_operators_of_any_other_shape_are_refused(shape, count):
    """Values of one member are (1, n), those of both (2, n), whatever else comes out."""
    if shape in ([1, count], [2, count]):
        return
    with pytest.raises(OptionError):
        sample(A=lambda z: z.sum() + torch.zeros(shape), y=torch.ones(count))


@pytest.mark.parametrize(
    "make",
    [
        *(lambda v=v: MMPS(iterations=v) for v in ("3", 0, -1, 2.5, True)),
        *(lambda v=v: MMPS(tolerance=v) for v in (math.nan, 0.0, -1.0, "small", None)),
        lambda: MMPS(derivative="fd"), lambda: SDA(derivative=None), lambda: DPS(derivative=1),
        *(lambda v=v: SDA(gamma=v) for v in ("x", -1.0, math.nan)),
        *(lambda v=v: DPS(v) for v in ("x", None, math.inf)),
        *(lambda v=v: UniPC(order=v) for v in (0, "3", 2.0, 99)), lambda: UniPC(repeats="no"),
        lambda: prior_of("lorenz63", 5), lambda: prior_of(xslams.open_model("lorenz63"), "5"),
        lambda: prior_of(xslams.open_model("lorenz63"), 0), lambda: prior_of(torch.nn.Linear(2, 2), 5),
    ],
)  # fmt: skip
def test_settings_of_parts_are_refused_where_they_are_made(make):
    with pytest.raises(OptionError, match="expected"):
        make()


def test_parts_of_users_in_an_analysis(tiny_model):
    ds = waves(3)
    obs = xslams.Observation(ds["pr"], error=1.0)
    for settings_ in (
        {"guidance": Weights(lambda p: None)}, {"guidance": Weights(lambda p: (p.innovation[:, :1], None))},
        {"guidance": Unlike()}, {"sampler": Steps(lambda x: None)}, {"sampler": Steps(lambda x: x[:, :1])},
        {"sampler": Steps(lambda x: x @ torch.ones(9))},
    ):  # fmt: skip
        with pytest.raises(SlamsError, match=r"(fails|gives)"):
            ds.slams.assimilate([obs], tiny_model, members=1, steps=2, **settings_)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]
)
@pytest.mark.parametrize("threads", [1, 2])
def test_too_little_memory_says_what_to_take_less_of(error, threads):
    def draw(first, batch):
        raise error

    with pytest.raises(OptionError, match=r"memory of this machine ran out with \d members.*chunk"):
        in_batches(draw, [0, 1], threads=threads)


def test_an_operator_that_runs_out_of_memory_is_named(tiny_model):
    ds = waves(3)
    obs = xslams.Observation(ds["pr"], error=1.0, operator=raising(MemoryError()), name="mine")
    with pytest.raises(ObservationError, match="mine"):
        ds.slams.assimilate([obs], tiny_model, members=1, steps=2)
