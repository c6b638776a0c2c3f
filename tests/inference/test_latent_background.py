"""Backgrounds with correlated errors: posteriors that are known exactly, where latents are the fields themselves."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.problems import observed
from tests.problems.posteriors import UnitNoise, moments
from xslams.inference.background_cells import cell_errors, is_even, root_of, square_between, with_masked_cells
from xslams.inference.background_sizes import areas, distributed
from xslams.inference.guidance import MMPS, GuidedDenoiser
from xslams.inference.latent_background import LatentBackground, LatentCovariance, correlation_of
from xslams.inference.observed import ObservedFrames
from xslams.inference.posterior import initial_noise
from xslams.inference.samplers import sample
from xslams.likelihood import BackgroundCorrelation, ErrorModel, SourceLikelihood
from xslams.masks import packed
from xslams.model import Model
from xslams.observations.vertical import column_correlation
from xslams.options import TrainingOptions
from xslams.priors.latent import LatentPrior
from xslams.spec import Spec, VariableSpec
from xslams.training import fit_arrays

LENGTH, LAT, LON = 3, 3, 4
SIZE = LENGTH * 2 * LAT * LON


@cache
def gaussian_model() -> Model:
    """Return a model without a network, whose latents are the two channels of the fields over their spread."""
    header = {
        "latent_channels": 2, "patch": 1, "hidden": 0, "modes": 24, "lags": 2, "width": [], "blocks": 0, "location": 0,
        "dropout": 0.0, "mean_order": 0, "std_order": 0, "coupled": 0,
    }  # fmt: skip
    spec = Spec(
        variables=(VariableSpec("t", "K", level_dim="level", levels=(850.0, 500.0)),),
        lat=(-30.0, 0.0, 30.0), lon=(0.0, 90.0, 180.0, 270.0), periodic=True, window=3, name="gaussian", summary="",
        architecture=header,
    )  # fmt: skip
    prior = LatentPrior(spec)
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(150, 2, LAT, LON)
    for i in range(1, 150):
        noise = torch.randn(2, LAT, LON, generator=generator)
        x[i] = 0.7 * x[i - 1] + 0.6 * noise + 0.3 * noise.roll(1, dims=-1)
    prior.normalization.fit(270 + x * torch.tensor([1.0, 3.0])[:, None, None], torch.zeros(150))
    prior.gaussian.fit([x / x.std()])
    return Model(spec, prior=prior)


def pieces() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and spread of fields, and the dense prior covariance of latents, by the definition."""
    prior = gaussian_model().prior()
    fields = prior.fields(torch.zeros(LENGTH))
    eye = torch.eye(SIZE).reshape(SIZE, LENGTH, *prior.shape)
    P = prior.gaussian.trajectory(LENGTH).apply(lambda d: d, eye).flatten(1).double().numpy()
    D = (fields(eye) - fields(0 * eye)).flatten(1).double().numpy().T
    return fields(0 * eye[:1]).flatten().double().numpy(), D, (P + P.T) / 2


def correlation(kind: BackgroundCorrelation, P: np.ndarray) -> np.ndarray:
    """Dense correlation of errors of latents, by the definition."""
    spec, time = gaussian_model().spec, np.arange(LENGTH)
    one = 2 * LAT * LON
    C = P
    if kind.time is not None or kind.length is not None:
        frames = P[:one, :one]
        if kind.length is not None:
            lat, lon = (v.ravel() for v in np.meshgrid(np.deg2rad(spec.lat), np.deg2rad(spec.lon), indexing="ij"))
            xyz = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
            r = 6371.0 / kind.length * np.linalg.norm(xyz[:, None] - xyz, axis=-1)
            frames = np.kron(np.eye(2), (1 + r) * np.exp(-r))
        C = np.kron(np.exp(-24.0 * np.abs(time[:, None] - time) / kind.time), frames)
    return (1 - kind.independent) * C + kind.independent * np.eye(SIZE)


KINDS = [
    BackgroundCorrelation(), BackgroundCorrelation(time=40.0), BackgroundCorrelation(length=6000.0, time=40.0),
    BackgroundCorrelation(independent=0.5),
]  # fmt: skip


def sources(kind: BackgroundCorrelation, std: float) -> tuple[list[SourceLikelihood], SourceLikelihood]:
    """A background of every element, and a few observations."""
    rng = np.random.default_rng(1)
    mean, D, _ = pieces()
    values = mean + D @ rng.normal(size=SIZE)
    rows = np.eye(SIZE).reshape(LENGTH, 2, -1, SIZE)
    background = []
    for channel, factor in ((0, 1.0), (1, 3.0)):
        of = rows[:, channel].reshape(-1, SIZE)
        spread = np.full(len(of), (factor * std) ** 2)
        background.append(SourceLikelihood("b", sp.csr_array(of), of @ values, ErrorModel(spread), background=kind))
    some = np.array([2, 40, 65])
    seen = SourceLikelihood("o", sp.csr_array(np.eye(SIZE)[some]), mean[some] + 1.0, ErrorModel(np.full(3, 0.25)))
    return background, seen


@pytest.mark.parametrize("kind", KINDS[::2])
def test_the_posterior_is_that_of_the_dense_covariance(kind):
    """Mean and covariance of the sampler, without sampling error, against the formula."""
    mean, D, P = pieces()
    background, seen = sources(kind, 0.8)
    S = np.sqrt(np.concatenate([s.errors.instrument for s in background]))
    order = np.concatenate([s.matrix.indices for s in background])
    physical = np.empty(SIZE)
    physical[order] = S
    C = correlation(kind, P)
    S = physical / np.diag(D)
    B = D @ (S[:, None] * C * S) @ D.T
    H, y = seen.matrix.toarray(), seen.values
    xb = np.empty(SIZE)
    xb[order] = np.concatenate([s.values for s in background])
    A = np.concatenate([np.eye(SIZE), H]) @ D
    R = np.block([[B, np.zeros((SIZE, 3))], [np.zeros((3, SIZE)), 0.25 * np.eye(3)]])
    gain = np.linalg.solve(A @ P @ A.T + R, A @ P).T
    z = gain @ (np.concatenate([xb, y]) - np.concatenate([mean, H @ mean]))
    exact, std = mean + D @ z, np.sqrt(np.diag(D @ (P - gain @ A @ P) @ D.T))
    prior, season = gaussian_model().prior(), torch.zeros(LENGTH)
    rest = torch.zeros(1, LENGTH, *prior.shape)
    seen_by = ObservedFrames.of(prior, prior.fields(season), [*background, seen], gaussian_model(), rest)
    np.testing.assert_array_equal(seen_by.columns, np.arange(SIZE + 3))
    guided = GuidedDenoiser(prior.denoiser(LENGTH, season), seen_by.all, MMPS())
    noise = UnitNoise(SIZE)

    def trajectories(draw: int) -> torch.Tensor:
        return noise(draw).float().reshape(-1, *rest.shape[1:])

    found = sample(guided, initial_noise(guided.schedule) * trajectories(0), trajectories, steps=24)
    latent, covariance = moments(found.flatten(1).double())
    assert np.abs((mean + D @ latent.numpy() - exact) / std).max() < 0.05
    assert np.abs(np.sqrt(np.diag(D @ covariance.numpy() @ D.T)) / std - 1).max() < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_those_of_the_dense_covariance(kind):
    prior = gaussian_model().prior()
    _, D, P = pieces()
    background, _ = sources(kind, 0.8)
    done = [
        SourceLikelihood(
            s.name, s.matrix, s.values, s.errors.completed(np.zeros(s.size), np.ones(s.size)), background=kind
        )
        for s in background
    ]
    rest = torch.zeros(1, LENGTH, *prior.shape)
    found = LatentBackground(prior, gaussian_model().spec, prior.fields(torch.zeros(LENGTH)), done, rest)
    scale = np.abs(D).sum(1).reshape(LENGTH, 2, -1)
    S = (np.array([0.8, 2.4])[:, None] / scale).ravel()
    exact = S[:, None] * correlation(kind, P) * S
    x = torch.as_tensor(np.random.default_rng(0).normal(size=(2, SIZE)), dtype=torch.float32)
    np.testing.assert_allclose(found.errors(x).numpy(), x.numpy() @ exact, rtol=0.01, atol=0.01)
    np.testing.assert_allclose(found.errors.inv(found.errors(x)).numpy(), x.numpy(), rtol=0.01, atol=0.01)
    background_values = np.concatenate([s.values for s in background])
    seen = np.concatenate([s.matrix.toarray() for s in background]) @ (D @ found.y.numpy() + pieces()[0])
    np.testing.assert_allclose(seen, background_values, atol=0.05)


@pytest.mark.parametrize("spec", [
    {"lat": (0.0,), "lon": tuple(range(8)), "grid_dims": ("y", "x")},
    {"lat": (-30.0, 0.0, 30.0), "lon": (0.0, 90.0, 180.0, 270.0)},
])  # fmt: skip
@pytest.mark.parametrize("kind", [BackgroundCorrelation(), BackgroundCorrelation(time=10.0)])
def test_a_prior_without_a_gaussian_has_a_correlation_of_its_own(spec, kind):
    known = gaussian_model().spec
    shape = 1, len(spec["lat"]), len(spec["lon"])
    flat = "grid_dims" in spec
    like = SimpleNamespace(flat=flat, periodic=True, lat=spec["lat"], lon=spec["lon"], time_step=known.time_step)
    found = correlation_of(SimpleNamespace(shape=shape, stationary=None), like, 2, kind, torch.device("cpu"))
    size = 2 * shape[1] * shape[2]
    eye = torch.eye(size).reshape(size, 2, *shape)
    matrix = found.apply(lambda d: d, eye).flatten(1)
    torch.testing.assert_close(matrix, matrix.T, atol=1e-5, rtol=0)
    torch.testing.assert_close(matrix.diagonal(), torch.ones(size), atol=1e-5, rtol=0)
    assert float(torch.linalg.eigvalsh(matrix)[0]) > 0
    # The first cell and the last of a circle are neighbours.
    assert float(matrix[0, shape[2] - 1]) == pytest.approx(float(matrix[0, 1]), abs=1e-5)


def test_frames_of_which_other_elements_are_known_have_matrices_of_their_own():
    shape, pattern = (2, 1, 3), torch.tensor([1, 0, 1, 1])
    roots = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    values, vectors = torch.linalg.eigh(roots @ roots.mT + torch.eye(2))
    independent = SimpleNamespace(apply=lambda function, v: function(torch.ones(())) * v)
    found = LatentCovariance(independent, values, vectors, pattern, shape, 0.01)
    v = torch.randn(1, 4, *shape, generator=torch.Generator().manual_seed(1))
    square = (roots @ roots.mT + torch.eye(2))[pattern]  # (frame, cell, z, z)
    exact = torch.einsum("tczy,btyc->btzc", square, v.flatten(3)).flatten(1)
    torch.testing.assert_close(found(v.flatten(1)), exact, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.inv(exact), v.flatten(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("vertical", [0.1, 0.5, 3.0])
def test_levels_are_correlated_as_stated(vertical):
    model, (_, D, P) = gaussian_model(), pieces()
    column = column_correlation(in_hectopascals(), vertical)
    kind = BackgroundCorrelation(length=6000.0, time=40.0, vertical=vertical, column=column)
    background, _ = sources(kind, 0.8)
    done = [replace(s, errors=s.errors.completed(np.zeros(s.size), np.ones(s.size))) for s in background]
    rest = torch.zeros(1, LENGTH, *model.prior().shape)
    found = LatentBackground(model.prior(), model.spec, model.prior().fields(torch.zeros(LENGTH)), done, rest)
    r = np.log(850.0 / 500.0) / vertical
    between = np.array([[1.0, (1 + r) * np.exp(-r)], [(1 + r) * np.exp(-r), 1.0]])
    np.testing.assert_allclose(column, between, rtol=1e-9)
    scale = np.abs(D).sum(1).reshape(LENGTH, 2, LAT * LON)[0]
    std = np.array([0.8, 2.4])[:, None] / scale  # (channel, cell)
    # Symmetric roots of the stated covariance of each cell, on both sides of the correlation of cells and frames.
    S = np.zeros((2, LAT * LON, 2, LAT * LON))
    for cell in range(LAT * LON):
        values, vectors = np.linalg.eigh(std[:, cell, None] * between * std[:, cell])
        S[:, cell, :, cell] = (vectors * np.sqrt(values)) @ vectors.T
    S = np.kron(np.eye(LENGTH), S.reshape(2 * LAT * LON, -1))
    exact = S @ correlation(kind, P) @ S
    np.testing.assert_allclose(found.errors(torch.eye(SIZE)).numpy(), exact, atol=0.01 * exact.max())
    one = exact[:: LAT * LON, :: LAT * LON][:2, :2]
    assert one[0, 1] / np.sqrt(one[0, 0] * one[1, 1]) == pytest.approx(between[0, 1], abs=0.01)


def in_hectopascals() -> Spec:
    (variable,) = gaussian_model().spec.variables
    return replace(gaussian_model().spec, variables=(replace(variable, level_attrs={"units": "hPa"}),))


def test_channels_of_other_variables_are_not_correlated():
    found = column_correlation(observed.SPEC, 0.5)
    assert found.shape == (4, 4)
    np.testing.assert_array_equal(found[3], [0, 0, 0, 1])
    r = np.log(1000 / np.array(observed.LEVELS)) / 0.5
    np.testing.assert_allclose(found[0, :3], (1 + r) * np.exp(-r))
    assert np.linalg.eigvalsh(found)[0] > 0
    # Without a pressure, distances are those of the levels.
    plain = column_correlation(gaussian_model().spec, 700.0)
    np.testing.assert_allclose(plain[0, 1], 1.5 * np.exp(-0.5))


@given(st.integers(0, 2**16), st.integers(1, 4), st.integers(1, 7), st.integers(1, 8))
@settings(max_examples=10)
def test_errors_of_a_cell_lie_between_those_of_its_values(seed: int, length: int, rows: int, columns: int) -> None:
    """Whatever the decoder makes of a cell and its neighbours, also around a periodic axis."""
    rng = torch.Generator().manual_seed(seed)
    kernel = torch.randn(3, 3, 3, 2, generator=rng)  # shifts of rows and columns, values, channels
    shifts = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    rest = torch.zeros(1, length, 2, rows, columns)

    def forward(v):
        moved = [torch.einsum("xc,blcij->blxij", kernel[i, j], v.roll((i, j), (3, 4))) for i, j in shifts]
        return sum(moved).flatten(1)

    def adjoint(w):
        w = w.reshape(-1, length, 3, rows, columns)
        return sum(torch.einsum("xc,blxij->blcij", kernel[i, j], w.roll((-i, -j), (3, 4))) for i, j in shifts)

    scale, ratio = (torch.rand(3 * length * rows * columns, generator=rng) + 0.2 for _ in range(2))
    certain = torch.full_like(scale, 1e-9)
    pattern = torch.randint(0, 2, (length,), generator=rng).unique(return_inverse=True)[1]
    squares = cell_errors((forward, adjoint), scale, ratio * scale**2, certain, rest, pattern).square
    assert squares.shape == (int(pattern.max()) + 1, rows * columns, 2, 2)
    found = torch.linalg.eigvalsh(squares.double())
    assert ratio.min() * 0.99 <= found.min()
    assert found.max() <= ratio.max() * 1.01 + 1e-3


@given(st.integers(0, 2**16), st.integers(1, 3), st.booleans(), st.floats(1e-6, 1.0))
@settings(max_examples=20)
def test_errors_do_not_depend_on_the_units_of_latents(seed: int, values: int, even: bool, share: float) -> None:
    """Channels of a latent cell that are turned and scaled have the same errors in the fields, seen or not."""
    rng = torch.Generator().manual_seed(seed)
    decoder = torch.randn(values, 3, generator=rng, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=rng, dtype=torch.float64))[0]
    units = turn @ torch.diag(torch.tensor([0.2, 1.0, 6.0], dtype=torch.float64)) @ turn.mT
    rest = torch.zeros(1, 2, 3, 3, 4, dtype=torch.float64)
    scale = torch.rand(2 * values * 12, generator=rng, dtype=torch.float64) + 0.5
    ratio = torch.full_like(scale, 0.4) if even else torch.rand(len(scale), generator=rng) + 0.2
    found = []
    for matrix, root in ((decoder, None), (decoder @ torch.linalg.inv(units), units)):
        maps = (
            lambda v, m=matrix: torch.einsum("xc,blcij->blxij", m, v).flatten(1),
            lambda w, m=matrix: torch.einsum("xc,blxij->blcij", m, w.reshape(-1, 2, values, 3, 4)),
        )
        pattern = torch.zeros(2, dtype=torch.int64)
        found.append(cell_errors(maps, scale, ratio * scale**2, share * scale**2, rest, pattern, root=root).square)
    expected = units @ found[0].double() @ units
    torch.testing.assert_close(expected, found[1].double(), rtol=1e-3, atol=1e-5 * float(found[1].abs().max()))


@given(st.integers(0, 2**16), st.integers(1, 5))
@settings(max_examples=20)
def test_the_square_between_makes_of_one_covariance_the_other(seed: int, size: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(4, size, 2 * size + 2, generator=rng, dtype=torch.float64) for _ in range(2))
    a, b = a[0] @ a[0].mT, b @ b.mT
    root = root_of(square_between(a, b).double())
    torch.testing.assert_close(root @ a @ root, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))
    # Of channels that are alike it is what is wanted.
    eye = torch.eye(size, dtype=torch.float64)
    torch.testing.assert_close(square_between(eye, b).double(), b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))
    assert is_even(eye)


@given(st.integers(0, 2**16), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=20)
def test_what_is_stated_for_many_values_is_their_mean_over_area_and_year(seed: int, groups: int, alone: int) -> None:
    """And errors are in one ratio to the climate, whatever is stated for which values."""
    rng = np.random.default_rng(seed)
    spec = gaussian_model().spec
    cells = LAT * LON
    group = rng.integers(0, groups, 2 * cells)
    stated = rng.uniform(0.5, 2.0, groups)[group]
    stated[:alone] = rng.uniform(3.0, 4.0, alone)
    scale, year = (rng.uniform(0.5, 2.0, 2 * cells) for _ in range(2))
    rows = sp.csr_array(np.eye(2 * cells))
    source = SourceLikelihood("b", rows, np.zeros(2 * cells), ErrorModel(stated))
    tensors = [torch.as_tensor(a, dtype=torch.float64) for a in (stated, scale, year)]
    weight = areas([source], spec, tensors[1])
    found = distributed([source], tensors[0], tensors[1], weight, tensors[2]).numpy()
    area = np.tile(np.repeat(np.cos(np.deg2rad(spec.lat)), LON), 2)
    for one in np.unique(stated):
        own = stated == one
        ratio = found[own] / scale[own] ** 2
        np.testing.assert_allclose(ratio, ratio[0])
        several = own.sum() > 1
        mean = np.average(found[own] * (year[own] if several else 1.0), weights=area[own])
        np.testing.assert_allclose(mean, one)


def test_masked_cells_have_the_background_beside_them_and_no_part_in_its_size() -> None:
    """Values, errors and members are those of the nearest cell with a value; means are of the others alone."""
    spec = gaussian_model().spec
    masked = np.zeros((2, LAT, LON), bool)
    masked[0, 1, :2] = masked[1, 1, 1] = True
    spec = replace(spec, variables=(replace(spec.variables[0], masked=packed(masked)),))
    rng = np.random.default_rng(0)
    known = np.tile(~masked, (LENGTH, 1, 1, 1)).ravel()
    known[5 + LAT * LON * 2] = False  # a value that is missing at one time
    values, year = (rng.uniform(0.5, 2.0, SIZE) for _ in range(2))
    # Beside what is stated for many values there is one of which nothing else is stated, next to a masked cell.
    stated = rng.choice([0.5, 1.0], SIZE)
    stated[1] = 2.0
    members = np.arange(3)[:, None] * values
    source = SourceLikelihood(
        "b", sp.csr_array(np.eye(SIZE)[known]), values[known], ErrorModel(stated[known]), ensemble=members[:, known]
    )
    found = with_masked_cells(source, spec)
    field, error = np.full((2, SIZE), np.nan)
    field[found.matrix.indices], error[found.matrix.indices] = found.values, found.errors.independent
    np.testing.assert_array_equal(found.matrix @ np.nan_to_num(field), found.values)
    for got, own in ((field, values), (error, stated)):
        expected = spec.filled(np.where(known, own, np.nan).reshape(LENGTH, 2, LAT, LON))
        np.testing.assert_array_equal(got, expected.ravel())
    np.testing.assert_array_equal(found.ensemble, np.arange(3)[:, None] * found.values)

    def sizes(source: SourceLikelihood) -> torch.Tensor:
        element, variance = source.matrix.indices, torch.as_tensor(source.errors.independent)
        scale, of_year = torch.as_tensor(1 + error[element]), torch.as_tensor(year[element])
        return distributed([source], variance, scale, areas([source], spec, scale), of_year)

    torch.testing.assert_close(sizes(found)[: source.size], sizes(source))


def test_errors_that_the_decoder_makes_have_the_stated_size(tiny_model: Model) -> None:
    """Latents of several channels on a coarser grid: errors are drawn, decoded, and measured."""
    prior, spec, length = tiny_model.prior(), tiny_model.spec, 3
    fields = prior.fields(torch.zeros(length))
    channels, lat, lon = spec.frame_shape
    state = spec.state_channels
    spread = fields.spread.numpy().reshape(length, channels, -1)[:, :state].ravel()
    index = (np.arange(length)[:, None] * channels * lat * lon + np.arange(state * lat * lon)).ravel()
    matrix = sp.csr_array(
        (np.ones(len(index)), (np.arange(len(index)), index)), shape=(len(index), length * channels * lat * lon)
    )
    rest = torch.zeros(1, length, *prior.shape)
    centre = fields(rest).flatten(1)
    stated = 0.3 * float(np.sqrt((spread**2).mean()))
    source = SourceLikelihood(
        "background", matrix, centre[0].numpy()[index], ErrorModel(np.full(len(index), stated**2))
    )
    source = replace(source, background=BackgroundCorrelation())
    errors = LatentBackground(prior, spec, fields, [source], rest).errors
    white = torch.randn(400, errors.shape[0], generator=torch.Generator().manual_seed(0))
    drawn = fields(1e-2 * errors.color(white).reshape(-1, *rest.shape[1:])).flatten(1) - centre
    found = 100 * float(drawn[:, index].square().mean().sqrt())
    # What the decoder leaves out is added.
    assert 0.75 < found / stated < 1.5


@pytest.mark.parametrize(("seasonal", "local"), [(0, 0), (30, 0), (0, 30), (20, 30)])
def test_errors_of_cells_are_those_stated_where_covariances_vary_with_season_and_place(
    seasonal: int, local: int
) -> None:
    """Patterns that mix distant latents are none of a single cell: errors lie between the least and the largest."""
    rng = np.random.default_rng(0)
    days, lat, lon = 400, 6, 9
    season = np.arange(days) % 365 / 365.25
    wave = np.sin(np.pi * np.arange(lat) / 5)[:, None] * np.cos(np.pi * np.arange(lon) / 8)
    size = 1 + 0.7 * np.cos(2 * np.pi * season)
    fields = 0.4 * rng.standard_normal((days, 1, lat, lon))
    fields += (size * rng.standard_normal(days))[:, None, None, None] * wave
    spec = Spec(
        variables=(VariableSpec("t", "K"),), lat=tuple(40.0 + 2 * np.arange(lat)),
        lon=tuple((40.0 if local else 2.0) * np.arange(lon)), periodic=local > 0, window=3, name="seasons", summary="",
    )  # fmt: skip
    options = TrainingOptions(
        patch=1, epochs=0, modes=30, seasonal=seasonal, seasonality=0.8, local=local, mean_order=0, std_order=0, folds=0
    )
    model = fit_arrays(spec, [(280 + fields, season)], options, progress=False, device="cpu")
    prior = model.prior()
    rest, where = torch.zeros(1, 3, *prior.shape), np.arange(3 * lat * lon)
    stated = ErrorModel(np.full(where.size, 0.25)).completed(np.zeros(where.size), np.ones(where.size))
    rows = sp.csr_array((np.ones(where.size), (where, where)), shape=(where.size, where.size))
    source = SourceLikelihood("b", rows, np.full(where.size, 280.0), stated, None, None)
    source = replace(source, background=BackgroundCorrelation())
    known = prior.fields(torch.zeros(3))
    errors = LatentBackground(prior, model.spec, known, [source], rest).errors
    assert isinstance(errors, LatentCovariance)
    ratio = 0.25 / known.spread.square()
    found = torch.linalg.eigvalsh(errors.scaled.matrices).square()
    assert 0.99 * float(ratio.min()) <= float(found.min())
    # What the decoder leaves out, and what latents need not fit, are added.
    assert float(found.max()) <= 1.05 * float(ratio.max()) + 1e-2
