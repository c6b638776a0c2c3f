"""A user's observation operator between physical fields and the rows of a source: the one place where it is called.

What it returns is checked at every call, and so is its derivative: an analysis goes through fields that no check before
it can foresee, and one value that is not finite spoils all members of a window.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.errors import ObservationError, SlamsError
from xslams.linalg.autodiff import jacobian_product

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from xslams.spec import VariableSpec
    from xslams.typing import FieldFunction

__all__ = ["UserFunction", "fields_by_name"]


def fields_by_name(x: Tensor, variables: Sequence[VariableSpec]) -> dict[str, Tensor]:
    """Physical fields of every variable.

    Parameters
    ----------
    x
        All channels, shape ``(B, L, channel, lat, lon)``.
    variables
        Variables of the model, in the order of its channels.

    Returns
    -------
    dict
        Name to tensor ``(B, L, level, lat, lon)``, without ``level`` for variables that have none.
    """
    parts = x.split([v.channels for v in variables], dim=2)
    return {v.name: p if v.levels else p[:, :, 0] for v, p in zip(variables, parts, strict=True)}


class UserFunction:
    """A user's function of physical fields as one of all channels, and its derivatives.

    Parameters
    ----------
    function
        From fields by name, ``(B, L, [level,] lat, lon)``, to one field ``(B, L, lat, lon)``.
    variables
        Variables of the model, in the order of its channels.
    name
        Name of the source, for messages.

    Examples
    --------
    >>> from xslams.spec import VariableSpec
    >>> skin = UserFunction(lambda fields: fields["t"] ** 2, [VariableSpec("t", "K")], "skin")
    >>> x = torch.full((1, 1, 1, 1, 2), 3.0)
    >>> skin(x).flatten(), skin.product(x, torch.ones_like(x)).flatten()
    (tensor([9., 9.]), tensor([6., 6.]))
    """

    def __init__(self, function: FieldFunction, variables: Sequence[VariableSpec], name: str) -> None:
        self.function, self.variables = function, tuple(variables)
        self.about = f"Source {name!r}: operator="

    def __call__(self, x: Tensor) -> Tensor:
        """From all channels ``(B, L, channel, lat, lon)`` to a field ``(B, L, lat, lon)``.

        Raises
        ------
        ObservationError
            If the function fails, changes the fields, or returns anything but finite values of that shape and of the
            dtype and device of the fields.
        """
        return self._finite("values", self.where_defined(x), x)

    def where_defined(self, x: Tensor) -> Tensor:
        """Return the same, with values that may be NaN or infinite where the function is not defined."""
        version = x._version
        with self._named(x):
            y = self._formed(x)
        if x._version != version:
            raise self.changes_its_fields()
        return y

    def changes_its_fields(self) -> ObservationError:
        """Return the error for a function that does not leave the fields as they are."""
        return ObservationError(
            f"{self.about} writes into the fields that it gets. Let it make new tensors: x = x - 273.15 in place of "
            "x -= 273.15, and clone() before elements are set."
        )

    def product(self, x: Tensor, v: Tensor) -> Tensor:
        """Product of the Jacobian at `x` with `v`, both ``(B, L, channel, lat, lon)``."""
        with self._named(x):
            product = jacobian_product(self._formed, x, v)
        return self._finite("derivatives", product, x)

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the field at `x`, and the product with the adjoint of the Jacobian there."""
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            seen = self(leaf)
        if not seen.requires_grad:
            msg = (
                f"{self.about} cannot be differentiated: its result does not depend on the fields by way of torch. "
                "Use torch functions throughout, and no detach(), numpy() or item()."
            )
            raise ObservationError(msg)

        def adjoint(w: Tensor) -> Tensor:
            with self._named(x):
                back = torch.autograd.grad(seen, leaf, w, retain_graph=True)[0]
            return self._finite("derivatives", back, x)

        return seen.detach(), adjoint

    @contextlib.contextmanager
    def _named(self, x: Tensor) -> Iterator[None]:
        """Give errors of the function the name of its source."""
        try:
            yield
        except (SlamsError, torch.OutOfMemoryError):  # batches are halved where the memory of a GPU runs out
            raise
        except Exception as e:
            shapes = {n: tuple(f.shape) for n, f in fields_by_name(x, self.variables).items()}
            msg = (
                f"{self.about} fails on fields of shapes {shapes} ({type(e).__name__}: {e}). It gets a mapping of "
                "torch tensors (batch, time, [level,] lat, lon), of which torch must be able to take the derivative."
            )
            raise ObservationError(msg) from e

    def _formed(self, x: Tensor) -> Tensor:
        """Return what the function makes of fields if it is of the right form; what it raises is left as it is."""
        y: object = self.function(fields_by_name(x, self.variables))
        if not isinstance(y, Tensor):
            msg = f"{self.about} returns a {type(y).__name__}; expected a torch tensor (batch, time, lat, lon)."
            raise ObservationError(msg)
        expected = (*x.shape[:2], *x.shape[3:])
        if tuple(y.shape) != expected:
            msg = (
                f"{self.about} returns shape {tuple(y.shape)}; expected {expected} (batch, time, lat, lon): one field "
                "on the grid and at the times of the model, not yet at the places of the data."
            )
            raise ObservationError(msg)
        if y.dtype != x.dtype or y.device != x.device:
            msg = (
                f"{self.about} returns {y.dtype} on {y.device} from fields of {x.dtype} on {x.device}; both must be "
                "the same. Convert constants by .to(field), such as weights.to(fields['t'])."
            )
            raise ObservationError(msg)
        return y

    def _finite(self, what: str, y: Tensor, x: Tensor) -> Tensor:
        """Return values or derivatives if all are finite."""
        finite = torch.isfinite(y.detach())
        if bool(finite.all()):
            return y
        given = ", ".join(
            f"{name} from {float(f.min()):.6g} to {float(f.max()):.6g}"
            for name, f in fields_by_name(x.detach(), self.variables).items()
        )
        msg = (
            f"{self.about} makes {int((~finite).sum())} of {finite.numel()} {what} that are not finite, of fields "
            f"({given}). It must be defined for all fields that come up on the way to the analysis: keep arguments of "
            "log, sqrt and divisions away from zero by clamp(min=...), and check formula and units."
        )
        raise ObservationError(msg)
