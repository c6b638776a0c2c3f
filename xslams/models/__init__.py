"""Models: autoencoder, score network, normalisation, and the file that holds them."""

from xslams.models.model import Model
from xslams.models.spec import Spec, VariableSpec

__all__ = ["Model", "Spec", "VariableSpec"]
