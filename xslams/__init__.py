"""Data assimilation for xarray with a learned latent prior.

Importing this package registers ``.slams`` on `xarray.Dataset` and `xarray.DataArray`. Everything else, torch included,
is imported when it is first used.

Examples
--------
>>> import xslams
>>> ds = xslams.open_tutorial()
>>> ds.slams
<xslams accessor>
...
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from xslams import accessor as _accessor  # noqa: F401  registers .slams

if _TYPE_CHECKING:
    from xslams import datasets, errors, inference, models, plot, regrid, scores, systems, testing, training
    from xslams.models.model import Model
    from xslams.models.spec import Spec, VariableSpec
    from xslams.observations import Observation, QualityControl, simulate_observations
    from xslams.store import open_analysis
    from xslams.zoo import list_models, open_model, open_tutorial

    __version__: str

_NAMES = {
    "Model": "xslams.models.model",
    "Observation": "xslams.observations",
    "QualityControl": "xslams.observations",
    "Spec": "xslams.models.spec",
    "VariableSpec": "xslams.models.spec",
    "list_models": "xslams.zoo",
    "open_analysis": "xslams.store",
    "open_model": "xslams.zoo",
    "open_tutorial": "xslams.zoo",
    "simulate_observations": "xslams.observations",
}
_MODULES = ("datasets", "errors", "inference", "models", "plot", "regrid", "scores", "systems", "testing", "training")

__all__ = [
    "Model",
    "Observation",
    "QualityControl",
    "Spec",
    "VariableSpec",
    "__version__",
    "datasets",
    "errors",
    "inference",
    "list_models",
    "models",
    "open_analysis",
    "open_model",
    "open_tutorial",
    "plot",
    "regrid",
    "scores",
    "simulate_observations",
    "systems",
    "testing",
    "training",
]


def __getattr__(name: str) -> _Any:
    if name in _NAMES:
        value = getattr(_import_module(_NAMES[name]), name)
    elif name in _MODULES:
        value = _import_module(f"xslams.{name}")
    elif name == "__version__":
        value = _version()
    else:
        msg = f"module 'xslams' has no attribute {name!r}"
        raise AttributeError(msg)
    globals()[name] = value
    return value


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("xslams")
    except PackageNotFoundError:  # a source tree on the path, not installed
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
