"""Weights of ESMF, through xESMF: an optional engine, for those who want ESMF's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from xslams.errors import GridError, SlamsError
from xslams.geometry import Geometry
from xslams.typing import Edges, Method
from xslams.weights.base import METHODS, check_method
from xslams.weights.engines import ENGINES
from xslams.weights.esmf_grids import Described, described_source, described_target
from xslams.weights.esmf_thread import in_thread, library_version, load

__all__ = ["XESMF"]

_METHODS = {"bilinear": "bilinear", "conservative": "conservative", "nearest": "nearest_s2d"}


class XESMF:
    """ESMF through xESMF."""

    @property
    def version(self) -> str:
        """Versions of xESMF and of ESMF."""
        return library_version()

    def check(self, source: Geometry, target: Geometry, method: Method, edges: Edges) -> None:
        """Raise unless xESMF is installed and has weights of this method.

        Raises
        ------
        SlamsError
            If xESMF, esmpy or ESMF is missing.
        GridError
            If edges are parallels, or the geometries are no places on the sphere.
        """
        check_method(source, target, method, edges)
        if edges != "great_circle":
            msg = f"ESMF joins corners by great circles; got edges={edges!r}. Use engine='embedded'."
            raise GridError(msg)
        if source.flat or method not in _METHODS:
            what = f"method={method!r}" if method not in _METHODS else str(source)
            msg = f"xESMF knows {', '.join(map(repr, _METHODS))} on the sphere; got {what}. Use engine='embedded'."
            raise GridError(msg)
        load()

    def weights(self, source: Geometry, target: Geometry, method: Method, edges: Edges) -> sp.csr_array:
        """Weights of ESMF; rows sum to one, and those of targets that it does not map are empty.

        Raises
        ------
        SlamsError
            If xESMF, esmpy or ESMF is missing.
        GridError
            If it has no such weights, or cells leave gaps between them.
        """
        self.check(source, target, method, edges)
        ours, theirs = described_source(source, method), described_target(target, method)
        shape = target.size, source.size
        if not theirs.cells.size:
            return sp.csr_array(shape)
        try:
            found = in_thread(lambda: _asked(ours, theirs, method))
        except SlamsError:
            raise
        except Exception as e:  # ESMF itself says little more than the number of an error
            msg = (
                f"ESMF makes no {method} weights from {source} to {target} ({type(e).__name__}: {e}). Its log is "
                "PET0.ESMF_LogFile in the working directory. Use engine='embedded'."
            )
            raise GridError(msg) from e
        # Cells that stand twice in what ESMF was handed are one of ours; their weights are summed.
        weights = sp.coo_array((found.data, (theirs.cells[found.row], ours.cells[found.col])), shape=shape)
        return _means(sp.csr_array(weights), METHODS[method].cover)


ENGINES.register("xesmf")(XESMF())


def _asked(source: Described, target: Described, method: Method) -> Any:
    """Weights between what ESMF is handed, as a sparse matrix of coordinates."""
    masked = "mask" in source.dataset or "mask" in target.dataset
    regridder = load().Regridder(
        source.dataset,
        target.dataset,
        _METHODS[method],
        periodic=source.periodic,
        locstream_in=source.points,
        locstream_out=target.points,
        # Cells that are masked have some coordinates, between which there may be no area.
        **({"ignore_degenerate": True} if masked else {}),
    )
    return sp.coo_array(regridder.weights.data.to_scipy_sparse())


def _means(weights: sp.csr_array, enough: float) -> sp.csr_array:
    """Weights whose rows sum to one, where ESMF divides by a whole cell; empty where too little of it is covered."""
    total = np.asarray(weights.sum(axis=1)).ravel()
    factor = np.divide(1.0, total, out=np.zeros_like(total), where=(total >= enough) & (total > 0))
    data = weights.data * np.repeat(factor, np.diff(weights.indptr))
    weights = sp.csr_array((data, weights.indices, weights.indptr), shape=weights.shape)
    weights.eliminate_zeros()
    return weights
