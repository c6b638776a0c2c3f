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
    from xslams import datasets, errors, inference, plot, regrid, scores, systems, testing, training
    from xslams.functions import assimilate, check, decode, diagnose, encode, fit, impact, report, score, to_zarr
    from xslams.model import Model
    from xslams.observations import BackgroundError, ErrorCovariance, Observation, QualityControl, simulate_observations
    from xslams.pipeline.learning import learn_operator
    from xslams.pipeline.opening import open_analysis
    from xslams.spec import Spec, VariableSpec
    from xslams.zoo.pretrained import list_models, open_model, open_tutorial

    __version__: str

_NAMES = {
    "BackgroundError": "xslams.observations",
    "ErrorCovariance": "xslams.observations",
    "Model": "xslams.model",
    "Observation": "xslams.observations",
    "QualityControl": "xslams.observations",
    "Spec": "xslams.spec",
    "VariableSpec": "xslams.spec",
    "assimilate": "xslams.functions",
    "check": "xslams.functions",
    "decode": "xslams.functions",
    "diagnose": "xslams.functions",
    "encode": "xslams.functions",
    "fit": "xslams.functions",
    "impact": "xslams.functions",
    "learn_operator": "xslams.pipeline.learning",
    "list_models": "xslams.zoo.pretrained",
    "open_analysis": "xslams.pipeline.opening",
    "open_model": "xslams.zoo.pretrained",
    "open_tutorial": "xslams.zoo.pretrained",
    "report": "xslams.functions",
    "score": "xslams.functions",
    "simulate_observations": "xslams.observations",
    "to_zarr": "xslams.functions",
}
_MODULES = ("datasets", "errors", "inference", "plot", "regrid", "scores", "systems", "testing", "training")

__all__ = [
    "BackgroundError",
    "ErrorCovariance",
    "Model",
    "Observation",
    "QualityControl",
    "Spec",
    "VariableSpec",
    "__version__",
    "assimilate",
    "check",
    "datasets",
    "decode",
    "diagnose",
    "encode",
    "errors",
    "fit",
    "impact",
    "inference",
    "learn_operator",
    "list_models",
    "open_analysis",
    "open_model",
    "open_tutorial",
    "plot",
    "regrid",
    "report",
    "score",
    "scores",
    "simulate_observations",
    "systems",
    "testing",
    "to_zarr",
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
    # Modules that others were imported from are no names of this package.
    return sorted(__all__)
