"""Systems with known equations: truth for twin experiments.

Each system is a small frozen dataclass. Its method `simulate` returns a Dataset with CF metadata; `tendency` and `step`
act on plain arrays. Every trajectory has its own noise, keyed by seed and number, so that the first of ten trajectories
is the same as a single one.

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
