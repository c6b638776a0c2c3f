"""Write the embedded models into the registry, whenever one of them has changed.

Run ``python examples/register_models.py``.

What the registry says of models that are fetched is kept as it is.
"""

import json

from xslams.model import Model
from xslams.zoo.registry import DATA, SUFFIX


def main() -> None:
    """Rewrite ``xslams/data/registry.json``."""
    path = DATA / "registry.json"
    entries = {name: entry for name, entry in json.loads(path.read_text()).items() if entry.get("url")}
    for file in sorted(DATA.glob(f"*{SUFFIX}")):
        model = Model.load(file)
        entries[file.stem] = {
            "sha256": model.sha256,
            "size": file.stat().st_size,
            "license": model.spec.license,
            "format_version": model.spec.format_version,
        }
    path.write_text(json.dumps(dict(sorted(entries.items())), indent=2) + "\n")
    print(f"{path.name}: {', '.join(sorted(entries))}")


if __name__ == "__main__":
    main()
