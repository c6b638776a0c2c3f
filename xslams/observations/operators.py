"""Observation operators by name: functions of physical fields, as `xslams.Observation` takes them.

What a group's instruments see of a state is written once, registered, and then named:

>>> import xslams
>>> from xslams.observations import OPERATORS
>>> @OPERATORS.register("total_water")
... def total_water(fields):
...     return fields["q"].sum(dim=2)
>>> OPERATORS.names
('total_water',)
>>> OPERATORS.unregister("total_water")

The linear maps that guidance needs are found by differentiation, see `xslams.inference.operators.FunctionOperator`.
"""

from __future__ import annotations

from xslams.registries import Registry
from xslams.typing import FieldFunction

__all__ = ["OPERATORS"]

#: Functions of physical fields that ``Observation(operator="name")`` finds; the package has none of its own.
OPERATORS: Registry[FieldFunction] = Registry("observation operator")
