"""Open the model of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xslams.errors import ModelError
from xslams.zoo import pretrained as zoo

if TYPE_CHECKING:
    import os

    from xslams.model import Model

__all__ = ["open_gridded"]


def open_gridded(model: str | os.PathLike[str] | Model) -> Model:
    """Open a model of gridded fields; those of a system have other dimensions."""
    opened = zoo.open_model(model)
    if opened.spec.system:
        msg = (
            f"The model {opened.spec.name!r} is of the system {opened.spec.system.get('name')}, which has no "
            "latitudes, longitudes and dates; expected one of gridded fields, such as 'speedy-t30'. Draw from it "
            "with xslams.inference: prior_of(model, length=...) and sample_posterior(...)."
        )
        raise ModelError(msg)
    return opened
