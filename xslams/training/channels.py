"""Sizes of a latent frame that are worth a trial: what a patch leaves out costs skill, what it keeps costs time.

What few channels leave out is not noise: it has patterns that are as wide as the observations and vary with height, and
a model that takes it for white noise cannot correct it by what it observes. All values of a patch leave out nothing:
the latent frame is then the field, cut into patches. Its Gaussian prior needs as many modes for its size as that of the
field, or what these leave out is white noise again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xslams.options import TrainingOptions
    from xslams.spec import Spec

__all__ = ["usual_channels", "wider_latents"]

# Tenths of the values of a patch that a latent frame has where nothing else is asked for, its least number, and its
# least number for each channel of the fields: a mean and two gradients. With fewer, what is left out of rain and
# radiation is as large as what is kept, and observations of them mislead.
_TENTHS, _LEAST, _EACH = 3, 4, 3


def usual_channels(spec: Spec, patch: int) -> int:
    """Return the number of latent channels where none is asked for.

    Parameters
    ----------
    spec
        Variables.
    patch
        Factor by which the latent grid is coarser. At 1 nothing is left out.

    Examples
    --------
    >>> from xslams.spec import Spec, VariableSpec
    >>> spec = Spec((VariableSpec("t", "K"),), lat=(0.0, 1.0), lon=(0.0, 1.0), periodic=False, time_step=24.0)
    >>> usual_channels(spec, 1), usual_channels(spec, 4)
    (1, 4)
    """
    return spec.channels if patch == 1 else max(spec.channels * patch**2 * _TENTHS // 10, spec.channels * _EACH, _LEAST)


def wider_latents(spec: Spec, options: TrainingOptions, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield settings with more latent channels than usual, up to all values of a patch.

    Parameters
    ----------
    spec
        Variables.
    options
        Settings so far.
    given
        Settings of the user, which stay as they are.

    Examples
    --------
    >>> from xslams.options import TrainingOptions
    >>> from xslams.spec import Spec, VariableSpec
    >>> spec = Spec((VariableSpec("t", "K"),), lat=(0.0, 1.0), lon=(0.0, 1.0), periodic=False, time_step=24.0)
    >>> [change["latent_channels"] for change in wider_latents(spec, TrainingOptions(patch=4), {})]
    [8, 16]
    """
    if options.patch == 1 or "latent_channels" in given:
        return
    whole = spec.channels * options.patch**2
    for channels in (whole // 2, whole):
        if channels > usual_channels(spec, options.patch):
            # Patches have fewer wavenumbers than fields, each of more values; all of their values have those of fields.
            few = options.modes * options.patch * channels / whole
            modes = options.modes if channels == whole and spec.periodic else max(round(few), options.modes)
            yield {"latent_channels": channels} | ({} if "modes" in given else {"modes": modes})
