"""The degraded background of the paper: coarse, noisy or sparse temperature, as one more source of observations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import xarray as xr

import xslams

__all__ = ["Degraded"]


@dataclass(frozen=True)
class Degraded:
    """How the truth is degraded to a background.

    The analysis knows what was done: boxes are observed as means of boxes, and the noise is the error.

    Attributes
    ----------
    coarsen
        Cells that are averaged in each direction.
    noise
        Standard deviation of the noise, in that of the climatology of each level.
    every
        Only every so many cells in each direction are given.
    """

    coarsen: int = 1
    noise: float = 0.5
    every: int = 1

    def on(self, cells: int) -> Degraded:
        """Return the same degradation for a grid whose cells are so many cells of this one in each direction.

        Parameters
        ----------
        cells
            They divide what is averaged or left out.

        Examples
        --------
        >>> Degraded(coarsen=8).on(4)
        Degraded(coarsen=2, noise=0.5, every=1)
        """
        if any(n > 1 and n % cells for n in (self.coarsen, self.every)):
            msg = f"{self} cannot be had on cells that are {cells} times as large."
            raise ValueError(msg)
        return replace(self, coarsen=max(self.coarsen // cells, 1), every=max(self.every // cells, 1))

    def observe(self, truth: xr.DataArray, spread: xr.DataArray, seed: int = 0) -> xslams.Observation:
        """Degrade temperature.

        Parameters
        ----------
        truth
            Temperature.
        spread
            Standard deviation of its climatology, of each level.
        seed
            Of the noise.
        """
        thinning = {"coarsen": self.coarsen} if self.coarsen > 1 else {}
        if self.every > 1:
            thinning["every"] = self.every
        given = {name: {"lat": n, "lon": n} for name, n in thinning.items()}
        error = self.noise * spread
        return xslams.simulate_observations(truth, error=error, seed=seed, **given).replace(name="background")
