"""Layers in one folder, as Lambda puts them into `/opt`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamfn.errors import ConfigurationError
from streamfn.packages.folder import look
from streamfn.packages.tree import Kind, check

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamfn.packages.tree import Entry
    from streamfn.packages.writing import Writer


def merge(layers: Sequence[Path], writer: Writer) -> None:
    """Puts folders that never change into one, in their order: of the same file the last one's stays.

    Raises ConfigurationError where something is a folder in one layer and no folder in another, or where a
    link of one leads out through those of another.
    """
    tree: dict[str, Entry] = {}
    origins: dict[str, Path] = {}
    for number, layer in enumerate(layers, 1):
        for path, entry in look(layer).tree.items():
            earlier = tree.get(path)
            if (
                earlier is not None
                and Kind.FOLDER in (earlier.kind, entry.kind)
                and earlier.kind != entry.kind
            ):
                raise ConfigurationError(
                    f"{path!r} of layer {number} is a {entry.kind.name.lower()}, and a "
                    f"{earlier.kind.name.lower()} in a layer before it",
                    field="Layers",
                    fix="leave out one of the layers",
                )
            tree[path] = entry
            origins[path] = layer
    check(tree)
    for path, entry in tree.items():
        if entry.kind is Kind.FOLDER:
            writer.folder(path)
        elif entry.kind is Kind.FILE:
            writer.share(origins[path] / path, path, entry)
    writer.links(tree)
    writer.close()
