"""How many channels a latent frame has: all values of a patch lose nothing, and held-out frames say what fewer cost."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams.networks.autoencoder import Autoencoder
from xslams.options import TrainingOptions
from xslams.priors.latent import LatentPrior
from xslams.spec import Spec, VariableSpec
from xslams.training.channels import usual_channels, wider_latents
from xslams.training.selection import choose
from xslams.training.stages import fit_gaussian_stages, with_architecture

pytestmark = pytest.mark.filterwarnings("ignore:The training data:xslams.errors.SlamsWarning")

CPU = torch.device("cpu")


def spec_of(variables: int, lat: int, lon: int, *, periodic: bool = False) -> Spec:
    width = 360.0 / lon if periodic else 2.5
    return Spec(
        tuple(VariableSpec(f"v{i}", "K") for i in range(variables)),
        lat=tuple(40.0 + 2.5 * np.arange(lat)), lon=tuple(width * np.arange(lon)), periodic=periodic, window=3,
    )  # fmt: skip


def run(spec: Spec, days: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise that neighbouring days share, every cell for itself."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((days + 1, *spec.frame_shape))
    return (280 + x[1:] + 0.7 * x[:-1]).astype(np.float32), (np.arange(days) % 365) / 365.25


def fitted(spec: Spec, days: int, **options: object) -> LatentPrior:
    chosen = TrainingOptions.of({"folds": 0, "epochs": 0, **options})
    torch.manual_seed(0)
    return fit_gaussian_stages(with_architecture(spec, chosen), [run(spec, days)], chosen, CPU)[0]


@torch.no_grad()
def covariance(prior: LatentPrior) -> torch.Tensor:
    """Covariance of anomalies of one frame under the prior, by all unit vectors."""
    size = int(np.prod(prior.autoencoder.frame_shape))
    unit = torch.eye(size).reshape(size, 1, *prior.autoencoder.frame_shape)
    decoder = prior.autoencoder.decoder()
    return decoder(prior.gaussian.trajectory(1).apply(lambda d: d, decoder.adjoint(unit))).reshape(size, size)


@given(variables=st.integers(1, 12), patch=st.integers(1, 8), modes=st.integers(1, 500))
@settings(max_examples=30, deadline=None)
def test_wider_latents_have_more_channels_than_usual_and_at_most_all(variables: int, patch: int, modes: int) -> None:
    spec, options = spec_of(variables, 8, 8), TrainingOptions(patch=patch, modes=modes)
    usual, whole = usual_channels(spec, patch), variables * patch**2
    found = list(wider_latents(spec, options, {}))
    sizes = [change["latent_channels"] for change in found]
    assert sizes == sorted(set(sizes))
    assert all(usual < n <= whole for n in sizes)
    assert all(change["modes"] >= modes for change in found)
    assert (patch == 1) or usual >= whole or sizes[-1] == whole
    assert list(wider_latents(spec, options, {"latent_channels": usual})) == []
    assert all("modes" not in change for change in wider_latents(spec, options, {"modes": modes}))


@given(
    variables=st.integers(1, 3), patch=st.integers(2, 3), lat=st.integers(2, 5), lon=st.integers(3, 6),
    periodic=st.booleans(),
)  # fmt: skip
@settings(max_examples=8, deadline=None)
def test_all_values_of_a_patch_lose_nothing(variables: int, patch: int, lat: int, lon: int, *, periodic: bool) -> None:
    shape = variables, lat, lon
    whole = Autoencoder(shape, variables * patch**2, patch, periodic=periodic, hidden=0)
    torch.manual_seed(0)
    u = torch.randn(60, *shape)
    whole.start_from_patches(u, torch.ones(variables))
    whole.whiten([u])
    torch.testing.assert_close(whole.decode(whole.encode(u[:3])), u[:3], rtol=0, atol=2e-3)


def test_all_values_of_a_patch_have_the_prior_of_the_fields() -> None:
    spec = spec_of(2, 4, 6)
    fields, patches, few = (
        covariance(fitted(spec, 200, modes=48, **latent))
        for latent in ({"patch": 1}, {"patch": 2, "latent_channels": 8}, {"patch": 2, "latent_channels": 3})
    )
    torch.testing.assert_close(patches, fields, rtol=0, atol=0.01)
    assert float((few - fields).abs().max()) > 0.3


def test_on_a_closed_circle_all_values_of_a_patch_have_the_waves_of_the_fields() -> None:
    spec = spec_of(1, 4, 8, periodic=True)
    fields, patches, few = (
        fitted(spec, 200, modes=3, **latent)
        for latent in ({"patch": 1}, {"patch": 2, "latent_channels": 4}, {"patch": 2, "latent_channels": 3})
    )
    assert [p.gaussian.blocks for p in (fields, patches, few)] == [5, 5, 3]
    # One variable has no others that it could be mixed with in its cell.
    torch.testing.assert_close(covariance(patches), covariance(fields), rtol=0, atol=1e-3)
    found = list(wider_latents(spec_of(2, 4, 8, periodic=True), TrainingOptions(patch=2, modes=50), {}))
    assert found[-1] == {"latent_channels": 8, "modes": 50}
    # Four patches of three cells do not close a circle of ten.
    assert fitted(spec_of(1, 4, 10, periodic=True), 200, patch=3, latent_channels=9).gaussian.layout.cut == 1


def test_files_from_before_are_read_with_the_waves_of_patches() -> None:
    spec = spec_of(1, 4, 8, periodic=True)
    spec = with_architecture(spec, TrainingOptions.of({"patch": 2, "latent_channels": 4}))
    assert LatentPrior(spec).gaussian.blocks == 5
    before = dataclasses.replace(spec, architecture={k: v for k, v in spec.architecture.items() if k != "cut"})
    assert LatentPrior(before).gaussian.blocks == 3


def test_held_out_frames_choose_the_channels_that_are_not_given() -> None:
    spec = spec_of(2, 4, 6)
    few = {"patch": 2, "epochs": 0, "mean_order": 0, "std_order": 0, "coupled": 0, "seasonal": 0, "spread": ()}
    few |= {"localization": None, "smoothing": 1, "inflation": 1.0, "modes": 8, "folds": 0}
    # Each of the eight values of a patch is the same in all patches: six patterns of a patch leave out a quarter of
    # what a single observation tells of the whole field.
    rng = np.random.default_rng(0)
    fields = 280 + np.tile(rng.standard_normal((100, 2, 2, 2)), (2, 3)) + 0.1 * rng.standard_normal((100, 2, 4, 6))
    runs = [(fields.astype(np.float32), np.arange(100) / 365.25)]
    choice = choose(spec, runs, few, budget=1e5, device="cpu", progress=False)
    assert choice.options.latent_channels == 8
    trials = [t for t in choice.trials if "latent_channels" in t.change]
    assert [t.change for t in trials] == [{"latent_channels": 8}]
    assert trials[0].gain is not None
    assert trials[0].gain > 0.02
    given = choose(spec, runs, few | {"latent_channels": 4}, budget=1e5, device="cpu", progress=False)
    assert given.options.latent_channels == 4
