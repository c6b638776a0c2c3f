"""Quality control of a source: what its flags say, its bias, its representativeness, thinning and averaging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from xslams.arguments import is_number, require_text, shown
from xslams.display import page, settings
from xslams.errors import ObservationOptionError
from xslams.labels.coordinates import listed
from xslams.likelihood import ROBUST, RobustLikelihood
from xslams.observations.stated_errors import Error, check_stated

__all__ = ["QualityControl"]


@dataclass(frozen=True)
class QualityControl:
    """What to do with values that may be wrong, biased, too many, or finer than the model.

    The steps are taken in the order of the attributes. Everything is off by default, but for quality flags that the
    data name themselves and the check for gross errors.

    Attributes
    ----------
    flags
        Meanings (or values) of the quality flag that are used; all others are rejected. By default the flag variable
        that ``ancillary_variables`` names, or that is called after the data (``TEMP_QC``), is read by its
        ``flag_meanings``, and it is an error if these do not say what is good and what is bad. Flags of the time, place
        and level of a value reject it where they say that these are bad. False ignores flags.
    bias
        Known bias in the units of the data, which is subtracted: a number, a mapping per variable, or a DataArray with
        some of the dimensions of the data (a bias per station) or ``month`` or ``hour``.
    bias_error
        Standard deviation, in the units of the data, of an unknown bias that all values of a group share over one
        analysis window. It is estimated together with the state and marginalised: the error covariance becomes
        :math:`R + b^2 1 1^T`. Not with ``guidance="sda"``, which needs independent errors.
    bias_per
        Group that shares a bias: ``"source"``, ``"station"`` (the same latitude and longitude), or the name of a
        coordinate of the data (a platform).
    representativeness
        Standard deviation of what a place has of its own and the model's cells cannot represent, in the units of the
        data; it is shared by all values of one place and time. ``"auto"`` derives it from the difference in resolution,
        see `xslams.observations.background_check.with_variability`.
    background_check
        Reject values whose innovation (value less first guess) is larger than this many standard deviations of what is
        expected of it. The first guess is the climatology of the model, or the background where its error is given. By
        default, ``"gross"``, only gross errors are rejected, with a warning: values of more than 20 standard deviations
        out of the climatology and, where there is a background, from the first guess. None keeps these too.
    thin
        Side of boxes in km, of which one value each is kept at every time and level: the one next to the centre.
    superob
        Average the values of one variable, time and level in boxes: True for the model's cells, or the side of boxes in
        km. Their errors average too, see `xslams.observations.superob`.
    robust
        Likelihood with heavy tails for gross errors, ``"huber"`` or ``"student-t"``: a value that disagrees with all
        others is drawn to less and less.
    robust_shape
        Huber: the number of standard deviations from which on an error is large (1.345). Student: the degrees of
        freedom (4).

    Raises
    ------
    ObservationOptionError
        If a value is out of range.

    Examples
    --------
    >>> QualityControl(background_check=5, robust="huber").robust_shape
    1.345
    """

    flags: Literal[False] | str | int | Sequence[str | int] | None = None
    bias: Error | None = None
    bias_error: Error | None = None
    bias_per: str = "source"
    representativeness: Error | Literal["auto"] | None = None
    background_check: float | Literal["gross"] | None = "gross"
    thin: float | None = None
    superob: bool | float = False
    robust: Literal["huber", "student-t"] | None = None
    robust_shape: float | None = None

    def __post_init__(self) -> None:
        for name in ("thin", "background_check", "robust_shape"):
            value: Any = getattr(self, name)
            if name == "background_check" and isinstance(value, str) and value == "gross":
                continue
            if value is not None and not _is_positive(value):
                msg = f"qc: {name}={shown(value)}; expected a positive number."
                raise ObservationOptionError(msg)
        side: Any = self.superob
        likelihood: Any = self.robust
        local: Any = self.representativeness
        if not isinstance(side, bool | np.bool_) and not _is_positive(side):
            msg = f"qc: superob={shown(side)}; expected True for the model's cells, or the side of boxes in km."
            raise ObservationOptionError(msg)
        if likelihood is not None and not (isinstance(likelihood, str) and likelihood in ROBUST):
            msg = f"qc: robust={shown(likelihood)}; expected one of {listed(ROBUST)}."
            raise ObservationOptionError(msg)
        if isinstance(local, str) and local != "auto":
            msg = f"qc: representativeness={shown(local)}; expected a standard deviation or 'auto'."
            raise ObservationOptionError(msg)
        check_stated(self.bias, "qc: bias", signed=True)
        check_stated(self.bias_error, "qc: bias_error")
        check_stated(None if isinstance(local, str) else local, "qc: representativeness")
        require_text(ObservationOptionError, **{"qc: bias_per": self.bias_per})
        if self.bias_error is not None and self.superob and self.bias_per != "source":
            msg = (
                f"qc: bias_per={self.bias_per!r} with superob: the mean over a box has no bias of one {self.bias_per}. "
                "Use bias_per='source', or leave one of them out."
            )
            raise ObservationOptionError(msg)
        if self.robust is not None and self.robust_shape is None:
            object.__setattr__(self, "robust_shape", ROBUST[self.robust]().shape)

    @classmethod
    def of(cls, qc: QualityControl | Mapping[str, Any] | None) -> QualityControl:
        """Quality control as given, or from a mapping of its attributes.

        Raises
        ------
        ObservationOptionError
            If it is something else, or an attribute is unknown.
        """
        if qc is None:
            return cls()
        if isinstance(qc, cls):
            return qc
        known = [f.name for f in fields(cls)]
        given: object = qc
        if not isinstance(given, Mapping):
            msg = f"qc= must be an xslams.QualityControl or a dict of its attributes; got {type(qc).__name__}."
            raise ObservationOptionError(msg)
        if unknown := [k for k in given if k not in known]:
            msg = f"qc= has no {listed(unknown)}; it knows {listed(known)}."
            raise ObservationOptionError(msg)
        return cls(**given)

    def _repr_html_(self) -> str:
        return page("xslams.QualityControl", "", [settings(self)], repr(self))

    @property
    def likelihood(self) -> RobustLikelihood | None:
        """The robust likelihood; None for a Gaussian one."""
        return None if self.robust is None or self.robust_shape is None else ROBUST[self.robust](self.robust_shape)


def _is_positive(value: object) -> bool:
    return is_number(value) and float(value) > 0  # type: ignore[arg-type]
