"""The model file: one ``.safetensors`` with the weights, and the `Spec` as JSON in its header."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xslams.addresses import cleaned
from xslams.display import Section, attributes, page
from xslams.errors import ModelError
from xslams.learned import LearnedOperator, from_storage, to_storage
from xslams.spec import Spec
from xslams.spec_display import in_words, sections

if TYPE_CHECKING:
    from xslams.priors.base import Prior

__all__ = ["Model"]

# A safetensors header larger than this is not ours, and reading it would only waste memory.
_MAX_HEADER = 16 * 2**20


class Model:
    """A trained model: a `Spec` at once, the prior with its weights on first use.

    A Model pickles as its path where it came from a file, so a task graph carries a handle and never the weights.

    Parameters
    ----------
    spec
        Description of the model.
    prior
        The prior with its weights; None where they are still in the file.
    path
        File that holds the model; None for a model that was trained in this process and not saved.
    operators
        Learned observation operators; None where they are still in the file, or there are none.

    Examples
    --------
    >>> import xslams
    >>> model = xslams.open_model("speedy-t30")
    >>> [v.name for v in model.spec.variables]
    ['t', 'pr', 'olr']
    """

    def __init__(
        self,
        spec: Spec,
        *,
        prior: Prior | None = None,
        path: Path | None = None,
        operators: Sequence[LearnedOperator] | None = None,
    ) -> None:
        if prior is None and path is None:
            msg = "A Model needs either its prior or the path of its file; got neither. Use Model.load(path)."
            raise ModelError(msg)
        self.spec = spec
        self.path = path
        self._prior = prior
        self._operators = None if operators is None else tuple(operators)
        self._sha256: str | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Open a model file; only its header is read.

        Raises
        ------
        ModelError
            If the file is absent, truncated, not a safetensors file, not of xslams, or newer than this package.
        """
        path = Path(path)
        if not path.is_file():
            msg = f"There is no model file {path}. See xslams.list_models() for the names of pretrained models."
            raise ModelError(msg)
        text = _read_header(path)["spec"]
        try:
            return cls(Spec.from_json(text), path=path)
        except ModelError as e:
            msg = f"{path}: {e}"
            raise ModelError(msg) from cleaned(e)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write weights and spec into one ``.safetensors`` file; nothing is left behind where writing fails.

        A model without a name takes that of the file.

        Raises
        ------
        ModelError
            If the name has another suffix, a weight is not finite as it would be stored, or the spec could not be read
            back.
        """
        from safetensors.torch import save_file

        from xslams.priors.stored import check_finite, digest, operator_tensors

        path = Path(path)
        if path.suffix != ".safetensors":
            msg = f"A model is saved as .safetensors; got {path.name!r}. Use {path.with_suffix('.safetensors').name!r}."
            raise ModelError(msg)
        if self.spec.name == Spec.name:
            self.spec = dataclasses.replace(self.spec, name=path.stem)
        operators = self.operators
        tensors = {k: v.contiguous() for k, v in self.prior().storage_state().items()} | operator_tensors(operators)
        check_finite(tensors, f"The model {self.spec.name!r} is not saved", "Train it again, with checked data")
        spec = self.spec.to_json()
        Spec.from_json(spec)  # a file that cannot be opened is of no use
        metadata = {"format": "xslams", "spec": spec, "sha256": digest(spec, tensors)}
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        os.close(handle)
        try:
            save_file(tensors, temporary, metadata=metadata)
            # mkstemp makes files that only their owner may read, which is not what a shared model should be.
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self.path = path
        self._sha256 = None
        return path

    def prior(self) -> Prior:
        """Return the prior in evaluation mode, loading its weights on first use.

        Returns
        -------
        Prior
            Of the kind that the spec names, see `xslams.priors.base.PRIORS`.

        Raises
        ------
        ModelError
            If the kind is unknown, or the weights are not those that the spec describes.
        """
        if self._prior is None:
            from xslams.priors.loading import load_prior

            assert self.path is not None  # guaranteed by __init__
            self._prior = load_prior(self.spec, self.path)
        return self._prior

    @property
    def operators(self) -> tuple[LearnedOperator, ...]:
        """Learned observation operators, see `xslams.learn_operator`; read on first use.

        Raises
        ------
        ModelError
            If those in the file are damaged.
        """
        if self._operators is None:
            self._operators = ()
            if self.spec.operators and self.path is not None:
                from xslams.priors.loading import load_operators

                self._operators = load_operators(self.spec, self.path)
        return self._operators

    def with_operators(self, operators: Sequence[LearnedOperator]) -> Model:
        """Return the model with learned observation operators, in memory.

        Parameters
        ----------
        operators
            They take the place of those that it has.
        """
        records, arrays = to_storage(operators)
        spec = dataclasses.replace(self.spec, operators=tuple(records))
        # Rounded to what a file holds, so that a saved model is the model in memory.
        return Model(spec, prior=self.prior(), operators=from_storage(records, arrays, spec.frame_shape))

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._prior is not None

    @property
    def sha256(self) -> str:
        """Hash of the file, or an empty string for a model that was not saved."""
        if self._sha256 is None:
            if self.path is None:
                return ""
            with self.path.open("rb") as file:
                self._sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return self._sha256

    def __getstate__(self) -> dict[str, Any]:
        prior = None if self.path is not None else self._prior
        operators = None if self.path is not None else self._operators
        return {
            "spec": self.spec, "path": self.path, "_prior": prior, "_operators": operators, "_sha256": self._sha256,
        }  # fmt: skip

    def __dask_tokenize__(self) -> tuple[str, str, str]:
        return ("xslams.Model", str(self.path), self.sha256 or str(id(self)))

    @property
    def _where(self) -> str:
        return f"'{self.path}'" if self.path is not None else "in memory"

    def __repr__(self) -> str:
        return f"<xslams.Model {self.spec.name!r}: {in_words(self.spec)}; {self._where}>"

    def _repr_html_(self) -> str:
        file = attributes({"file": self._where, "weights": "loaded" if self.loaded else "in the file"})
        parts = [*sections(self.spec), Section("File", file)]
        return page("xslams.Model", self.spec.name, parts, repr(self))


def _read_header(path: Path) -> dict[str, str]:
    """Metadata of a safetensors file, without reading tensors and without torch."""
    foreign = f"{path} is not an xslams model file (.safetensors with a spec in its header)."
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER:
                raise ModelError(foreign)
            header = json.loads(file.read(length))
            end = max((v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"), default=0)
            size, announced = path.stat().st_size, 8 + length + end
            metadata = {str(k): str(v) for k, v in header.get("__metadata__", {}).items()}
        if size != announced:
            fault = "is truncated" if size < announced else "is damaged"
            msg = f"{path} {fault}: its header announces {announced} bytes, and it has {size}. Fetch it again."
            raise ModelError(msg)
    except ModelError:
        raise
    except (struct.error, LookupError, TypeError, AttributeError, RecursionError, ValueError) as e:
        raise ModelError(foreign) from cleaned(e)
    if metadata.get("format") != "xslams" or "spec" not in metadata:
        raise ModelError(foreign)
    return metadata
