r"""The part of observation errors that comes from the model: what its decoder leaves out, and an inflation.

What the decoder leaves out of a field, independent from cell to cell and known from training, an observation sees as an
error of variance :math:`\sum_j S_{ij}^2 r_j^2`. Through a transform it depends on where that is linearised: at what was
observed in a cell by all sources together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from xslams.inference.operators import FieldOperator, FunctionOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.likelihood import SourceLikelihood
    from xslams.priors.fields import FieldMap
    from xslams.spec import VariableSpec

__all__ = ["completed"]


def completed(
    fields: FieldMap, likelihoods: Sequence[SourceLikelihood], variables: Sequence[VariableSpec]
) -> list[SourceLikelihood]:
    """Return likelihoods whose errors have the part that comes from the model.

    Parameters
    ----------
    fields
        Map from latents to physical fields.
    likelihoods
        All sources of a stretch of frames; those that see fields directly are linearised together.
    variables
        Variables of the model, in the order of its channels.

    Returns
    -------
    list of SourceLikelihood
        In the order given. Where all errors are complete they are left as they are.
    """
    out = list(likelihoods)
    present = [i for i, likelihood in enumerate(out) if likelihood.size]
    if all(out[i].errors.complete for i in present):
        return out
    linear = [i for i in present if out[i].function is None]
    if linear:
        decoder, inflation = FieldOperator(fields, [out[i] for i in linear]).errors_of_model()
        ends = np.cumsum([out[i].size for i in linear])[:-1]
        for i, d, factor in zip(linear, np.split(decoder, ends), np.split(inflation, ends), strict=True):
            out[i] = replace(out[i], errors=out[i].errors.completed(d, factor))
    for i in (i for i in present if out[i].function is not None):
        decoder, inflation = FunctionOperator(fields, out[i], variables).errors_of_model()
        out[i] = replace(out[i], errors=out[i].errors.completed(decoder, inflation))
    return out
