"""Fitting an autoencoder, a Gaussian prior and a score network to arrays."""

from xslams.training.fit import fit_arrays

__all__ = ["fit_arrays"]
