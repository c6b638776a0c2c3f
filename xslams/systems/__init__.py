"""Systems with known equations: truth for twin experiments.

Each is a small frozen dataclass whose `simulate` gives a Dataset with CF metadata, and whose `tendency` and `step` act
on plain arrays. Every trajectory has a noise of its own, keyed by seed and number, so that the first of ten is the one
that is got alone.

Examples
--------
>>> from xslams.systems import Lorenz63
>>> Lorenz63().simulate(100, trajectories=4).sizes
Frozen({'trajectory': 4, 'time': 101})
"""

from xslams.systems.common import System
from xslams.systems.kolmogorov import KolmogorovFlow
from xslams.systems.lorenz63 import Lorenz63
from xslams.systems.lorenz96 import Lorenz96
from xslams.systems.shallow_water import ShallowWater

__all__ = ["KolmogorovFlow", "Lorenz63", "Lorenz96", "ShallowWater", "System"]
