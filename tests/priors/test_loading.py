"""Priors from model files."""

import dataclasses
from pathlib import Path

import pytest

from xslams.errors import ModelError
from xslams.model import Model


def test_weights_that_do_not_fit_the_header_are_refused(unsaved_model: Model, tmp_path: Path) -> None:
    path = unsaved_model.save(tmp_path / "tiny.safetensors")
    model = Model.load(path)
    model.spec = dataclasses.replace(model.spec, architecture=model.spec.architecture | {"latent_channels": 3})
    with pytest.raises(ModelError, match="do not fit"):
        model.prior()
