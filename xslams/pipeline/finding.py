"""The one known model that fits a Dataset, where the user names none.

Known are the models of `xslams.list_models` whose files are on this machine; only their headers are read. A model fits
if its state is among the variables of the Dataset, in units and on levels that it understands, and grid and time step
are its own. A Dataset without variables, which gives grid and times alone, is judged by these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import xarray as xr

from xslams.errors import GridError, ModelError, SlamsError, UnitError, VariableError
from xslams.labels.calendar import on_time_axis
from xslams.labels.channels import regrid_line
from xslams.labels.coordinates import coordinate, listed
from xslams.labels.domain import domain_of
from xslams.labels.grid import grid_of_spec
from xslams.labels.recognise import inspect
from xslams.labels.units import convert_units
from xslams.labels.valid_values import with_valid_values
from xslams.labels.variables import match_variables
from xslams.spec import Spec, VariableSpec
from xslams.zoo.pretrained import known_models, open_model, opening

if TYPE_CHECKING:
    import os

    from xslams.model import Model

__all__ = ["model_for"]


@dataclass(frozen=True)
class _Misfit:
    """One reason why a model does not fit."""

    text: str
    kind: str = ""


def model_for(ds: xr.Dataset, model: Model | str | os.PathLike[str] | None) -> Model:
    """Open a model, or find the one known model that fits a Dataset.

    Parameters
    ----------
    ds
        State, or grid and times of one.
    model
        Model, name or path; None to find it.

    Returns
    -------
    Model
        Its weights are loaded on first use.

    Raises
    ------
    ModelError
        If none is named, and none or several fit; the message lists the candidates.

    Examples
    --------
    >>> import xslams
    >>> model_for(xslams.open_tutorial(), None).spec.name
    'speedy-t30'
    """
    if model is not None:
        return open_model(model)
    known = known_models()
    opened = {name: m for name, m in known.items() if m is not None}
    ds = on_time_axis(with_valid_values(ds))
    misfits = {name: list(_misfits(ds, m.spec)) for name, m in opened.items()}
    fitting = [name for name, reasons in misfits.items() if not reasons]
    if len(fitting) == 1:
        return open_model(fitting[0])
    if fitting:
        msg = (
            f"{len(fitting)} known models fit this Dataset:\n{_lines(opened, dict.fromkeys(fitting, ''))}\n"
            f"Name one of them: model={fitting[0]!r}."
        )
        raise ModelError(msg)
    reasons = {name: "; ".join(r.text for r in found) for name, found in misfits.items()}
    absent = {name: "not fetched; xslams.open_model fetches it" for name, m in known.items() if m is None}
    elsewhere = [name for name, found in misfits.items() if {r.kind for r in found} == {"grid"}]
    ways = [f"Bring the data to its grid: {regrid_line(ds, opening(opened[name]))}" for name in elsewhere]
    ways.append("Train a model on data like these, model = ds.slams.fit(), and pass it: model=model")
    msg = f"No known model fits this Dataset, which has {_held(ds)}:\n{_lines(known, reasons | absent)}\n" + "\n".join(
        ways
    )
    raise ModelError(msg)


def _misfits(ds: xr.Dataset, spec: Spec) -> Iterator[_Misfit]:
    """Reasons why a model does not fit a Dataset, none where it does."""
    domain = domain_of(spec)
    names: dict[str, str] = {}
    absent = []
    for variable in spec.state if inspect(ds).variables else ():
        try:
            names |= match_variables(ds, [variable])
        except VariableError:
            absent.append(variable.name)
            continue
        yield from _other_quantity(ds[names[variable.name]], variable)
    if absent:
        yield _Misfit(f"no {listed(absent)} among the variables")
    try:
        domain.check(ds)
    except GridError as e:
        yield _Misfit(_first_sentence(e), "flat") if spec.flat else _Misfit("another grid", "grid")
        return
    except SlamsError as e:
        yield _Misfit(_first_sentence(e))
        return
    if names and not absent:
        try:
            time = coordinate(ds, "time")
            domain.to_channels(ds[list(names.values())].isel({time: slice(0, 1)}), allow_missing=True)
        except SlamsError as e:
            yield _Misfit(_first_sentence(e))


def _other_quantity(da: xr.DataArray, variable: VariableSpec) -> Iterator[_Misfit]:
    """Reasons why a variable is none of a model: levels where that has none, and units that do not convert."""
    level = coordinate(da, "level")
    levels = da.sizes[level] if level is not None and level in da.dims else 1
    if min(levels, variable.channels) == 1 < max(levels, variable.channels):
        yield _Misfit(f"{da.name!r} is on {levels} level{'s' * (levels > 1)}, {variable.name!r} on {variable.channels}")
    try:
        convert_units(da.isel(dict.fromkeys(da.dims, slice(0))), variable.units)
    except UnitError as e:
        yield _Misfit(_first_sentence(e))


def _first_sentence(error: SlamsError) -> str:
    return str(error).partition("\n")[0].partition(". ")[0].rstrip(".")


def _held(ds: xr.Dataset) -> str:
    """Variables and grid of a Dataset, in words."""
    found = inspect(ds)
    fields = ", ".join(f"{n} ({ds[n].attrs.get('units', 'no units')})" for n in found.variables) or "no variables"
    return f"{fields}; {'no latitudes and longitudes of a grid' if found.grid is None else found.grid}"


def _lines(models: dict[str, Model | None] | dict[str, Model], notes: dict[str, str]) -> str:
    """One line for each model: its variables, its grid, and what is to be said of it."""
    out = []
    for name, note in notes.items():
        model = models[name]
        about = [] if model is None else [_variables(model.spec), _space(model.spec)]
        out.append(f"  {name}: " + "; ".join(about) + (": " if about and note else "") + note)
    return "\n".join(out)


def _variables(spec: Spec) -> str:
    parts = [f"{v.name} ({v.units}{f', {len(v.levels)} levels' if v.levels else ''})" for v in spec.state]
    seen = [v.name for v in spec.aux]
    return ", ".join(parts) + (f", observes {', '.join(seen)}" if seen else "")


def _space(spec: Spec) -> str:
    where = f"the system {spec.system.get('name', spec.name)}" if spec.flat else f"grid {grid_of_spec(spec)}"
    return f"{where}, a frame every {spec.time_step:g} {'of its units of time' if spec.flat else 'h'}"
