"""Observation operators of users: checked before anything runs, and as good as the linear operator where both exist."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from tests.problems.arrays import draw
from xslams.errors import AdjointError, CoverageError, ObservationError, UnitError
from xslams.inference.arrays import check_operator
from xslams.inference.decoder_errors import completed
from xslams.inference.observation_operator import linearize
from xslams.inference.operator_checks import check_function
from xslams.inference.operators import FieldOperator, FunctionOperator
from xslams.inference.user_function import UserFunction
from xslams.labels.calendar import time_labels, year_fraction
from xslams.likelihood import ErrorModel, SourceLikelihood
from xslams.linalg.autodiff import jacobian_product
from xslams.spec import VariableSpec
from xslams.testing import check_adjoint, example_fields

SEASON = np.arange(4) / 365.25


def column_mean(fields):
    return fields["t"].mean(dim=2)


def skin(fields):
    """Nonlinear in temperature and rain: emission dampened by cloud."""
    return 5.67e-8 * fields["t"][:, :, 0] ** 4 / (1 + 0.01 * fields["pr"] ** 2)


skin.units = "W m-2"


def source(model, function=None, *, n=30, seed=0, **more) -> SourceLikelihood:
    """Random cells and frames of the column mean, by way of a function or without."""
    rng = np.random.default_rng(seed)
    lat, lon = len(model.spec.lat), len(model.spec.lon)
    frame, cell = rng.integers(0, 4, n), rng.integers(0, lat * lon, n)
    if function is None:
        columns = np.concatenate([(frame * 3 + channel) * lat * lon + cell for channel in (0, 1)])
        matrix = sp.csr_array((np.full(2 * n, 0.5), (np.tile(np.arange(n), 2), columns)), shape=(n, 4 * 3 * lat * lon))
    else:
        matrix = sp.csr_array((np.ones(n), (np.arange(n), frame * lat * lon + cell)), shape=(n, 4 * lat * lon))
    return SourceLikelihood("mean", matrix, rng.normal(268, 3, n), ErrorModel(np.full(n, 0.25)), function, **more)


def operators(model, function):
    season = torch.as_tensor(SEASON, dtype=torch.float32)
    fields = model.prior().fields(season)
    plain, made = completed(fields, [source(model), source(model, function)], model.spec.variables)
    return FieldOperator(fields, [plain]), FunctionOperator(fields, made, model.spec.variables)


def latents(model, batch=2, seed=0):
    shape = batch, 4, *model.prior().shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_column_mean_is_the_linear_operator(tiny_model):
    plain, made = operators(tiny_model, column_mean)
    z = latents(tiny_model)
    # A rounding of 268 K is 3e-5.
    torch.testing.assert_close(made(z), plain(z), rtol=3e-7, atol=0)
    torch.testing.assert_close(made.variance, plain.variance, rtol=1e-5, atol=0)
    torch.testing.assert_close(made.y, plain.y)
    for v in (latents(tiny_model, seed=1), latents(tiny_model, seed=2)):
        products = [o.linearize(z)[0](v) for o in (made, plain)]
        torch.testing.assert_close(*products, rtol=1e-5, atol=1e-5)
    w = torch.randn((2, 30), generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(made.linearize(z)[1](w), plain.linearize(z)[1](w), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("guidance", ["mmps", "sda", "dps"])
def test_an_analysis_by_a_function_is_that_of_the_matrix(tiny_model, guidance):
    days = pd.date_range("2001-01-01", periods=4)
    rng = np.random.default_rng(0)
    data = xr.DataArray(
        rng.normal(268, 4, (4, 8, 16)), dims=("time", "lat", "lon"), name="mean_t", attrs={"units": "K"},
        coords={"time": days, "lat": list(tiny_model.spec.lat), "lon": list(tiny_model.spec.lon)},
    )  # fmt: skip
    grid = data.to_dataset()[["time", "lat", "lon"]]
    settings = {"members": 1, "steps": 4, "guidance": guidance}
    obs = xslams.Observation(data, error=0.5, method="nearest", operator=column_mean)
    made = grid.slams.assimilate(obs, tiny_model, **settings)
    # The same as a matrix: each level with half of the weight.
    likelihood = obs.to_arrays(tiny_model.spec, data.time)
    half = sp.kron(sp.eye_array(4), np.array([[0.5, 0.5, 0.0]]))
    spread = sp.kron(half, sp.eye_array(8 * 16))
    linear = replace(likelihood, matrix=sp.csr_array(likelihood.matrix @ spread), function=None)
    expected = draw(
        tiny_model, year_fraction=year_fraction(data.time), labels=time_labels(data.time), sources=[linear],
        **settings | {"members": (0,)},
    )  # fmt: skip
    np.testing.assert_allclose(
        made["t"].transpose("member", "time", "level", "lat", "lon"), expected, atol=2e-2 if guidance == "sda" else 5e-3
    )


def test_functions_and_matrices_go_together(tiny_model):
    """The order of sources of both kinds does not matter, and each keeps its rows."""

    stations = source(tiny_model, seed=5, n=7)
    means = source(tiny_model, column_mean, seed=6, n=5)
    common = {"year_fraction": SEASON, "labels": np.arange(4) * 24, "members": (0, 1), "steps": 6, "device": "cpu"}
    results = []
    for sources in ([stations, means], [means, stations]):
        predicted = np.empty((2, 12))
        values = draw(tiny_model, sources=sources, predicted=predicted, **common)
        results.append((values, predicted))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1][:, :7], results[1][1][:, 5:])
    np.testing.assert_array_equal(results[0][1][:, 7:], results[1][1][:, :5])
    # What members predict is close to what they return: the decoder leaves little out.
    seen = np.stack([stations.matrix @ np.pad(v, ((0, 0), (0, 1), (0, 0), (0, 0))).ravel() for v in results[0][0]])
    assert abs(seen - results[0][1][:, :7]).mean() < 2


@pytest.mark.parametrize("function", [column_mean, skin])
def test_derivatives_are_exact(tiny_model, function):
    fields = example_fields(tiny_model)
    assert {n: tuple(f.shape) for n, f in fields.items()} == {"t": (2, 3, 2, 8, 16), "pr": (2, 3, 8, 16)}
    assert check_adjoint(function, fields) < 1e-12
    _, made = operators(tiny_model, function)
    z = latents(tiny_model)
    # In the single precision of the networks, with the tangent of the transform of rain.
    assert check_adjoint(made, z, tolerance=1e-4) < 1e-4
    value, _, adjoint = linearize(made, z)
    by_torch = linearize(lambda x: made(x), z)[2]
    w = torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(adjoint(w), by_torch(w), rtol=1e-4, atol=1e-4)


class Cube(torch.autograd.Function):
    """A function without forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


def test_a_function_without_forward_mode_will_do():
    x, v = torch.tensor([1.0, 2.0]), torch.tensor([1.0, -1.0])
    torch.testing.assert_close(jacobian_product(Cube.apply, x, v), 3 * x**2 * v)


# --- operators that will not do --------------------------------------------------------------------------------------


class WrongAdjoint(torch.autograd.Function):
    """A square whose derivative somebody got wrong."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return x * grad


BAD = {
    "no field of that name": (
        lambda f: f["q"][:, :, 0],
        r"fails on fields of shapes .*'t': \(2, 3, 2, 8, 16\).*KeyError",
    ),
    "no tensor": (lambda f: f["t"].numpy(), "fails on fields|returns a ndarray"),
    "levels left": (lambda f: f["t"], r"returns shape \(2, 3, 2, 8, 16\).*expected \(2, 3, 8, 16\)"),
    "at places already": (lambda f: f["t"].mean(dim=2)[..., 0, 0], r"returns shape \(2, 3\)"),
    "whole numbers": (lambda f: f["t"].mean(dim=2).long(), "int64"),
    "detached": (lambda f: f["t"].mean(dim=2).detach(), "cannot be differentiated"),
    "rounded": (lambda f: f["t"].mean(dim=2).round(), "does not change with any field"),
    "not finite": (
        lambda f: torch.log(-f["t"].mean(dim=2)),
        r"makes 768 of 768 values that are not finite.*t from ",
    ),
    "derivative not finite": (
        lambda f: torch.sqrt((f["t"][:, :, 0] - f["t"][:, :, 0]).abs()),
        "derivatives that are not",
    ),
    "in part detached": (
        lambda f: f["t"].mean(dim=2) + f["pr"].detach(),
        r"differences of its values contradict at \d+ of 128 cells",
    ),
    "by way of numpy": (
        lambda f: torch.as_tensor(f["t"].detach().numpy().mean(axis=2)),
        "cannot be differentiated",
    ),
    "numpy and no detach": (lambda f: torch.as_tensor(f["t"].numpy().mean(axis=2)), "call numpy"),
    "in part by way of numpy": (
        lambda f: f["t"].mean(dim=2) * torch.as_tensor(np.tanh(f["pr"].detach().numpy())),
        "contradict",
    ),
    "wrong backward": (lambda f: WrongAdjoint.apply(f["t"].mean(dim=2)), "contradict"),
    "wrong backward of a branch": (
        lambda f: torch.where(f["pr"] > 1, WrongAdjoint.apply(f["t"][:, :, 0]), f["t"][:, :, 1]),
        "contradict",
    ),
    "straight-through rounding": (
        lambda f: f["t"].mean(dim=2) + (f["t"].mean(dim=2).round() - f["t"].mean(dim=2)).detach(),
        "contradict",
    ),
    "written into": (lambda f: f["t"].sub_(273.15).mean(dim=2), "writes into the fields"),
    "written into by numpy": (lambda f: (f["t"].detach().numpy().sort(axis=2), f["t"][:, :, 0])[1], "writes into"),
    "written into by data": (lambda f: (f["pr"].data.clamp_(min=0), f["t"][:, :, 0])[1], "writes into the fields"),
    "random": (lambda f: f["t"][:, :, 0] + torch.randn(()), "something else of the same fields at each call"),
    "a count of calls": (
        lambda f, calls=[]: (calls.append(1), f["t"][:, :, 0] + 0.1 * len(calls))[1],
        "something else of the same fields at each call",
    ),
    "double precision": (
        lambda f: f["t"].mean(dim=2) * torch.ones((), dtype=torch.float64).expand(1),
        r"returns torch.float64 on cpu from fields of torch.float32",
    ),
    "half precision": (lambda f: f["t"].mean(dim=2).half(), "returns torch.float16"),
    "a list": (lambda f: [f["t"][:, :, 0]], "returns a list"),
    "batch mean": (lambda f: f["t"].mean(dim=2) - f["t"].mean(dim=(0, 2)), "member alone than of a batch"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_operators_are_refused_before_anything_runs(tiny_model, bad, monkeypatch):
    from xslams.inference import arrays

    function, words = BAD[bad]
    data = xr.DataArray(
        np.ones((4, 1)), dims=("time", "station"), name="x", attrs={"units": "K"},
        coords={
            "time": pd.date_range("2001-01-01", periods=4), "lat": ("station", [10.0]), "lon": ("station", [20.0]),
        },
    )  # fmt: skip
    grid = xr.Dataset(coords={"time": data.time, "lat": list(tiny_model.spec.lat), "lon": list(tiny_model.spec.lon)})
    monkeypatch.setattr(arrays, "assimilate_arrays", lambda *a, **k: pytest.fail("ran"))
    with pytest.raises(ObservationError, match=f"(?s)Source 'x': operator=.*{words}"):
        grid.slams.assimilate(xslams.Observation(data, error=1.0, operator=function), tiny_model)


class WrongBackwardAt(torch.autograd.Function):
    """The same values, with a backward that is wrong at one cell, with or without a right forward mode."""

    @staticmethod
    def forward(x, cell):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.cell = inputs[1]

    @staticmethod
    def backward(ctx, grad):
        wrong = grad.clone()
        wrong.flatten(-2)[..., ctx.cell] *= 0.5
        return wrong, None


class WithForwardMode(WrongBackwardAt):
    @staticmethod
    def jvp(ctx, tangent, cell):
        return tangent.clone()


def detached_at(x, cell):
    mask = torch.zeros(x.shape[-2:])
    mask.view(-1)[cell] = 1.0
    return torch.where(mask > 0, x.detach(), x)


@settings(max_examples=6)
@given(
    cell=st.integers(0, 1199),
    how=st.sampled_from([detached_at, WrongBackwardAt.apply, WithForwardMode.apply]),
    link=st.sampled_from([lambda x: x, lambda x: torch.sin(0.3 * x), lambda x: (x - 0.1).abs(), lambda x: x.exp()]),
    seed=st.integers(0, 99),
)
def test_a_derivative_that_is_wrong_in_one_cell_is_found(cell, how, link, seed):
    """One of 1200 cells, with kinks or without; the same function without the fault passes."""
    # Where a derivative is small next to those elsewhere, nobody could tell or would suffer.
    # Members differ in every cell: values that were clamped to one bound are the same in both, and show nothing.
    x = 3 * torch.rand((2, 1, 1, 30, 40), generator=torch.Generator().manual_seed(seed)) - 1
    variables = [VariableSpec("t", "K")]
    check_function(UserFunction(lambda f: link(f["t"]), variables, "x"), x)
    with pytest.raises(ObservationError, match=r"contradict at 1 of 1200 cells|derivative and an adjoint that dis"):
        check_function(UserFunction(lambda f: how(link(f["t"]), cell), variables, "x"), x)


EMULATOR = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1)).requires_grad_(False)


def emulated(fields):
    """A network of single precision that sees a column."""
    t, pr = fields["t"].movedim(2, -1), fields["pr"][..., None]
    return EMULATOR(torch.cat([(t - 270) / 10, pr], dim=-1))[..., 0]


GOOD = {
    "mean": column_mean,
    "curved": skin,
    "saturation": lambda f: 6.1 * torch.exp(17.6 * (f["t"][:, :, 0] - 273.15) / (f["t"][:, :, 0] - 30.0)),
    "clamped": lambda f: f["pr"].clamp(min=0) + f["t"][:, :, 0].clamp(max=290.0),
    "kinks": lambda f: (f["t"][:, :, 0] - 273.15).abs() + torch.where(f["pr"] > 0.1, f["pr"], 0.1),
    "small difference": lambda f: f["t"][:, :, 0] - f["t"][:, :, 0].roll(1, dims=-1),
    "neighbours": lambda f: torch.nn.functional.avg_pool2d(f["t"][:, :, 0], 3, stride=1, padding=1),
    "waves": lambda f: torch.fft.irfft(torch.fft.rfft(f["t"][:, :, 1])[..., :4], n=16),
    "sorted": lambda f: f["t"].sort(dim=2).values[:, :, 0],
    "network": emulated,
    "no forward mode": lambda f: Cube.apply(f["t"][:, :, 0] / 100),
}


@pytest.mark.parametrize("good", GOOD)
def test_good_operators_pass(tiny_model, good):
    check_operator(tiny_model, GOOD[good], SEASON, "x")


@settings(max_examples=15)
@given(
    # Exponentials of exponentials are not finite.
    st.lists(st.sampled_from([torch.tanh, torch.sin, torch.exp, torch.nn.functional.softplus]), max_size=3).filter(
        lambda chain: chain.count(torch.exp) < 2
    ),
    st.sampled_from(["none", "detach", "numpy", "random", "write", "double", "nan"]),
    st.integers(0, 2**31),
)
def test_whatever_is_spoiled_is_refused(chain, spoiled, seed):
    """Chains of smooth functions pass; with one fault at any place in them they do not."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((2, 1, 2, 4, 5), generator=generator)
    faults = {
        "none": lambda y: y,
        "detach": lambda y: y + 0.5 * y.detach(),
        "numpy": lambda y: y * torch.as_tensor(1 + 0.5 * np.sin(y.detach().numpy())),
        "random": lambda y: y * (1 + 0.1 * torch.rand(())),
        "write": lambda y: y,
        "double": lambda y: y.double(),
        "nan": lambda y: torch.where(y == y.amax(), torch.nan, y),
    }

    def operator(fields):
        y = fields["a"] if spoiled != "write" else fields["a"].add_(1.0)
        for step in chain:
            y = step(y)
        return faults[spoiled](y) + 0.3 * fields["b"]

    variables = [VariableSpec("a", "1"), VariableSpec("b", "1")]
    if spoiled == "none":
        check_function(UserFunction(operator, variables, "x"), x)
    else:
        with pytest.raises(ObservationError, match="Source 'x': operator= "):
            check_function(UserFunction(operator, variables, "x"), x)


@pytest.mark.parametrize("derivative", [False, True])
def test_operators_are_finite_at_every_call(tiny_model, derivative):
    """What the check before could not see: fields that only come up on the way to the analysis."""
    days = pd.date_range("2001-01-01", periods=4)

    def limited(fields):
        """A logarithm, or a square root, of what is positive in the climatology."""
        t = fields["t"][:, :, 0]
        # Colder than any of the climatology.
        return torch.sqrt((t - 200.0).clamp(min=0.0)) if derivative else torch.log(t - 200.0)

    data = xr.DataArray(
        np.full((4, 8, 16), -9.0), dims=("time", "lat", "lon"), name="x", attrs={"units": "1"},
        coords={"time": days, "lat": list(tiny_model.spec.lat), "lon": list(tiny_model.spec.lon)},
    )  # fmt: skip
    obs = xslams.Observation(
        data, error=0.01, method="nearest", operator=limited, name="cold", qc={"background_check": None}
    )
    grid = data.to_dataset()[["time", "lat", "lon"]]
    what = "derivatives" if derivative else "values"
    with pytest.raises(
        ObservationError, match=rf"'cold': operator= makes \d+ of \d+ {what} that are not finite.*t from"
    ):
        grid.slams.assimilate(obs, tiny_model, members=1, steps=4)


def test_an_operator_that_fails_late_is_named(tiny_model):
    """With the shapes of the check it does not."""
    calls = []

    def tired(fields):
        calls.append(1)
        if len(calls) > 30:
            raise RuntimeError("no more")
        return fields["t"].mean(dim=2)

    data = reports(np.full((4, 3), 268.0), units="K")
    grid = xr.Dataset(coords={"time": data.time, "lat": list(tiny_model.spec.lat), "lon": list(tiny_model.spec.lon)})
    with pytest.raises(ObservationError, match=r"'flux': operator= fails on fields .*RuntimeError: no more"):
        grid.slams.assimilate(xslams.Observation(data, error=1.0, operator=tired), tiny_model, members=1, steps=16)


@pytest.mark.parametrize(
    ("operator", "words"),
    [
        (lambda x: x + torch.rand(()), "each call"),
        (lambda x: x.mul_(2), "writes into its argument"),
        (lambda x: x.float(), "a tensor of torch.float32; expected a tensor of torch.float64"),
        (lambda x: x.numpy(), "returns a ndarray"),
        (lambda x: torch.log(-x), "values that are not finite"),
        (lambda x: torch.sqrt(x - x), "derivatives that are not finite"),
        (lambda x: torch.as_tensor(np.sin(x.numpy())), "cannot be differentiated"),
    ],
)
def test_check_adjoint_refuses_what_is_no_function(operator, words):
    with pytest.raises(ObservationError, match=words):
        check_adjoint(operator, torch.rand((2, 3), dtype=torch.float64) + 1)


def test_wrong_derivatives_are_found():
    x = torch.rand((2, 3, 4), dtype=torch.float64) + 1
    assert check_adjoint(lambda x: x**2, x) < 1e-12
    with pytest.raises(AdjointError, match="central differences"):
        check_adjoint(WrongAdjoint.apply, x)
    with pytest.raises(AdjointError, match="central differences"):
        check_adjoint(lambda f: WrongAdjoint.apply(f["a"]) + f["b"], {"a": x, "b": x})

    class Unequal:
        """A matrix, and another one for its adjoint."""

        def __call__(self, z):
            return z @ torch.ones(3, 2, dtype=z.dtype)

        def linearize(self, z):
            return self, lambda w: w @ torch.full((2, 3), 1.01, dtype=w.dtype)

    with pytest.raises(AdjointError, match=r"<J v, w> = .* but <v, J\* w>"):
        check_adjoint(Unequal(), torch.rand((1, 3), dtype=torch.float64))
    with pytest.raises(AssertionError):
        check_adjoint(WrongAdjoint.apply, x)
    with pytest.raises(ObservationError, match="cannot be differentiated"):
        check_adjoint(lambda x: x.detach(), x)


def test_check_function_finds_an_adjoint_that_disagrees(tiny_model):
    class Lying(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x.clone()

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, grad):
            return grad

        @staticmethod
        def jvp(ctx, v):
            return 2 * v

    x = torch.stack([torch.rand(2, 3, 8, 16), torch.rand(2, 3, 8, 16)]) + 200
    with pytest.raises(ObservationError, match="derivative and an adjoint that disagree"):
        check_function(UserFunction(lambda f: Lying.apply(f["t"].mean(dim=2)), tiny_model.spec.variables, "x"), x)


# --- the side of the labels ------------------------------------------------------------------------------------------


def reports(values, name="flux", units="W m-2"):
    return xr.DataArray(
        values, dims=("time", "station"), name=name, attrs={"units": units},
        coords={
            "time": pd.date_range("2001-01-01", periods=len(values)),
            "lat": ("station", np.linspace(-60, 60, values.shape[1])),
            "lon": ("station", np.linspace(10, 200, values.shape[1])),
        },
    )  # fmt: skip


def test_an_operator_makes_the_only_variable_of_a_model(tiny_model):
    data = reports(np.full((4, 3), 200.0))
    arrays = xslams.Observation(data, error=5.0, operator=skin).to_arrays(tiny_model.spec, data.time)
    assert arrays.matrix.shape == (12, 4 * 8 * 16)
    assert arrays.function is skin
    np.testing.assert_allclose(np.asarray(arrays.matrix.sum(axis=1)), 1.0)
    # Data are converted to the units that the operator names; without any they are what it returns.
    kilo = (data / 1000).assign_attrs(units="kW m-2")
    arrays = xslams.Observation(kilo, error=0.005, operator=skin).to_arrays(tiny_model.spec, data.time)
    np.testing.assert_allclose(arrays.values, 200)
    np.testing.assert_allclose(arrays.errors.variance, 25)
    kelvin = data.assign_attrs(units="K")
    with pytest.raises(UnitError, match="Cannot convert"):
        xslams.Observation(kelvin, error=1.0, operator=skin).to_arrays(tiny_model.spec, data.time)
    arrays = xslams.Observation(data.drop_attrs(), error=1.0, operator=column_mean).to_arrays(
        tiny_model.spec, data.time
    )
    np.testing.assert_array_equal(arrays.values, 200)


@pytest.mark.parametrize(
    ("made", "given", "words"),
    [
        ("W m-2", "K", "makes 'W m-2'.*Cannot convert units 'K' to 'W m-2'"),
        ("W m-2", None, "'flux' has no units"),
        ("W m-2", "furlongs per fortnight!", "furlongs per fortnight!.*cannot read"),
        ("nonsense", "W m-2", "makes 'nonsense'"),
        ("9**9**9**9 K", "K", r"makes '9\*\*"),
        (5, "W m-2", "attribute units is 5; expected text"),
        (["K"], "K", r"attribute units is \['K'\]; expected text"),
        ("", "K", "makes ''.*Cannot convert|'K'"),
        ("1", "K", "makes '1'.*Cannot convert"),
    ],
)
def test_units_of_operators_are_enforced(tiny_model, made, given, words):
    def operator(fields):
        return fields["t"][:, :, 0]

    operator.units = made
    data = reports(np.full((4, 3), 200.0), units=given)
    data.attrs = {k: v for k, v in data.attrs.items() if v is not None}
    with pytest.raises(UnitError, match=f"Source 'flux'.*{words}"):
        xslams.Observation(data, error=5.0, operator=operator).to_arrays(tiny_model.spec, data.time)


def test_an_operator_needs_one_variable(tiny_model):
    data = xr.Dataset({"a": reports(np.ones((4, 2))), "b": reports(np.ones((4, 2)))})
    with pytest.raises(ObservationError, match="makes one variable; the data have 'a', 'b'"):
        xslams.Observation(data, error=1.0, operator=skin).to_arrays(tiny_model.spec, data.time)
    for variable in ("a", ["a"], {"a": "t"}):
        arrays = xslams.Observation(data, variable, error=1.0, operator=skin).to_arrays(tiny_model.spec, data.time)
        assert arrays.values.size == 8


def test_operators_draw_the_analysis_lazily_and_in_segments(tiny_model):
    """Truth seen through a nonlinear operator; the analysis fits it better than the prior does, eager or lazy."""
    days = pd.date_range("2001-01-01", periods=42)
    grid = xr.Dataset(coords={"time": days, "lat": list(tiny_model.spec.lat), "lon": list(tiny_model.spec.lon)})
    wave = np.sin(np.deg2rad(grid.lon) * 2 - xr.DataArray(0.3 * np.arange(42), dims="time", coords={"time": days}))
    truth = 285 + 8 * wave * np.cos(np.deg2rad(grid.lat))
    data = (5.67e-8 * truth**4).transpose("time", "lat", "lon").rename("flux").assign_attrs(units="W m-2")

    def emission(fields):
        return 5.67e-8 * fields["t"][:, :, 0] ** 4

    obs = xslams.Observation(data, error=4.0, method="nearest", operator=emission, name="flux")
    settings = {"members": 1, "steps": 4, "report": True}
    eager = grid.slams.assimilate([obs], tiny_model, **settings)
    lazy_grid = grid.assign(t=truth.chunk(time=20))
    lazy = lazy_grid.slams.assimilate([obs], tiny_model, **settings).compute(scheduler="sync")
    xr.testing.assert_equal(lazy["t"], eager["t"])
    table = eager.slams.report().sel(source="flux")
    before, after = table.innovation_std.values
    assert after < 0.5 * before
    assert int(table.given) == int(table.used) == data.size


def test_a_source_outside_of_the_period(tiny_model):
    data = reports(np.ones((4, 2)))
    late = data.assign_coords(time=data.time + pd.Timedelta("900D"))
    with pytest.raises(CoverageError, match="No time overlaps"):
        xslams.Observation(late, error=1.0, operator=skin).to_arrays(tiny_model.spec, data.time)
