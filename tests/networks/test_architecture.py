"""Architectures in the header of a model file."""

import json

import pytest

import xslams
from xslams.errors import ModelError
from xslams.networks.architecture import LatentArchitecture, MarkovArchitecture

LATENT = LatentArchitecture(
    latent_channels=4, patch=2, hidden=8, modes=10, lags=2, mean_order=1, std_order=0, width=(8, 16), blocks=1,
    location=4, dropout=0.1,
)  # fmt: skip
MARKOV = MarkovArchitecture(memory=4, hidden=8, reach=1, blocks=False, products=4, step_reach=2, substeps=2)


@pytest.mark.parametrize("architecture", [LATENT, MARKOV])
def test_a_header_gives_back_what_went_in(architecture) -> None:
    header = architecture.to_header()
    through_json = json.loads(json.dumps(header))
    assert through_json == header
    assert type(architecture).from_header(through_json) == architecture


@pytest.mark.parametrize("architecture", [LATENT, MARKOV])
def test_what_is_missing_or_unknown_is_named(architecture) -> None:
    header = architecture.to_header()
    with pytest.raises(ModelError, match=r"lacks 'hidden'.*train the model again"):
        type(architecture).from_header({k: v for k, v in header.items() if k != "hidden"})
    with pytest.raises(ModelError, match=r"has 'heads'.*Update xslams"):
        type(architecture).from_header(header | {"heads": 3})


@pytest.mark.parametrize("name", ["lorenz63", "lorenz63-ode", "lorenz96", "kolmogorov", "ncep-na", "speedy-t30"])
def test_headers_of_the_embedded_models_are_read(name: str) -> None:
    spec = xslams.open_model(name).spec
    kind = {"latent": LatentArchitecture, "markov": MarkovArchitecture}[spec.kind]
    architecture = kind.from_header(spec.architecture)
    assert architecture.to_header().items() >= spec.architecture.items()
