"""Figures of the experiments on known systems: trajectories, fields beside each other, and spectra."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from examples.paper.embedding import states_of
from examples.paper.flow import spectrum, vorticity
from xslams.systems import Lorenz63

__all__ = ["energies", "orbits", "vortices"]

# Of Okabe and Ito, which all eyes tell apart; the truth is black.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def orbits(truth: xr.Dataset, analyses: Mapping[str, xr.Dataset], system: Lorenz63) -> Figure:
    """Draw the variables of the system that embedded fields stand for, each analysis in a row of its own.

    Parameters
    ----------
    truth
        Variable ``signal`` (time, point).
    analyses
        Members of each method.
    system
        That was embedded.
    """
    figure, axes = plt.subplots(
        len(analyses), 3, figsize=(9, 1.8 * len(analyses)), sharex=True, sharey="col", squeeze=False,
        layout="constrained",
    )  # fmt: skip
    true = states_of(truth["signal"], system)
    for row, (name, found), color in zip(axes, analyses.items(), _COLORS, strict=False):
        members = states_of(found["signal"].transpose("member", ...), system)
        for k, ax in enumerate(row):
            ax.plot(truth["time"], members[..., k].T, color=color, alpha=0.5, linewidth=0.8)
            ax.plot(truth["time"], true[:, k], color="black", linewidth=1.2)
            ax.grid(alpha=0.3)
        row[0].set_ylabel(name)
    for k, variable in enumerate("xyz"):
        axes[0, k].set_title(variable)
        axes[-1, k].set_xlabel("time")
    return figure


def vortices(truth: xr.Dataset, analyses: Mapping[str, xr.Dataset], frame: int) -> Figure:
    """Draw the vorticity of the truth and of the first member of each analysis."""
    fields = {"truth": truth, **{name: found.isel(member=0) for name, found in analyses.items()}}
    drawn = {
        name: vorticity(*(ds[c].transpose("time", "y", "x").values[frame] for c in ("u", "v")))
        for name, ds in fields.items()
    }
    limit = float(np.abs(drawn["truth"]).max())
    figure, axes = plt.subplots(1, len(drawn), figsize=(2.6 * len(drawn), 2.9), sharey=True, layout="constrained")
    image = None
    for ax, (name, field) in zip(axes, drawn.items(), strict=True):
        extent = (0, 2 * np.pi, 0, 2 * np.pi)
        image = ax.imshow(field, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit, extent=extent)
        ax.set(title=name, xlabel="x")
    axes[0].set_ylabel("y")
    figure.colorbar(image, ax=axes, label="vorticity", shrink=0.8)
    return figure


def energies(truth: xr.Dataset, analyses: Mapping[str, xr.Dataset]) -> Figure:
    """Draw the spectrum of kinetic energy of the truth, and of the members of each analysis."""
    figure, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    for (name, found), color in zip({"truth": truth, **analyses}.items(), ("black", *_COLORS), strict=False):
        energy = spectrum(*(found[c].transpose(..., "y", "x").values.astype(float) for c in ("u", "v")))
        ax.loglog(np.arange(1, len(energy) + 1), energy, color=color, label=name)
    waves = [k for k in (1, 2, 3, 4, 5, 7, 10, 15, 20, 30) if k <= len(energy)]
    ax.set_xticks(waves, [str(k) for k in waves], minor=False)
    ax.xaxis.set_minor_formatter("")
    ax.set(xlabel="wavenumber", ylabel="kinetic energy")
    ax.grid(alpha=0.3, which="both")
    ax.legend(frameon=False)
    return figure
