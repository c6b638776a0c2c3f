"""A list of models: a table as any other, which a notebook shows model by model."""

from __future__ import annotations

import pandas as pd

from xslams.display import Section, attributes, page

__all__ = ["ModelList"]


class ModelList(pd.DataFrame):  # type: ignore[misc]  # pandas has no types here
    """What `xslams.list_models` returns. What is made of it, such as a selection, is a plain DataFrame."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        plain: type[pd.DataFrame] = pd.DataFrame
        return plain

    def _repr_html_(self) -> str:
        parts = []
        for name, row in self.iterrows():
            seen = row.to_dict() | {"size": f"{row['size']:.3g} MB", "open": f"xslams.open_model({str(name)!r})"}
            note = f"{row['grid']}: {row['variables']}"
            parts.append(Section(str(name), attributes({k: v for k, v in seen.items() if v}), note))
        return page("xslams.list_models()", f"{len(self)} models", parts, repr(self))
