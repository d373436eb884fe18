"""The code of functions and the layers under it, kept in folders by their hashes."""

from __future__ import annotations

import io
from base64 import b64decode, b64encode
from dataclasses import dataclass
from functools import partial
from hashlib import file_digest, sha256
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import anyio
import anyio.to_thread

from streamfn.errors import ConfigurationError
from streamfn.packages import folder as folders
from streamfn.packages.archive import unpack
from streamfn.packages.inline import InlineCode, file_name
from streamfn.packages.merging import merge
from streamfn.packages.shelf import Shelf
from streamfn.packages.tree import UNZIPPED_LIMIT, ZIPPED_LIMIT, Entry, Kind, hash_of, refused, too_large
from streamfn.packages.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

T = TypeVar("T")
_File: TypeAlias = io.BufferedReader | io.BytesIO

_TRIES: Final = 5
"""Looks at a folder that is being written to, before giving up."""
_MOST_LAYERS: Final = 5
_HASH_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class Code:
    """Code as it will stay."""

    sha256: str
    """AWS's `CodeSha256`: base64, of the zip; of the names, modes and contents where it came otherwise."""
    folder: Path
    """Readable by all, writable by nobody."""
    size: int
    """Bytes, unpacked."""


@dataclass(frozen=True, slots=True)
class Layers:
    """Layers, merged."""

    folder: Path | None
    """What is seen as `/opt`; None where there are no layers."""
    hashes: tuple[str, ...] = ()
    """Of each layer, as `Code.sha256`, in order."""


class CodeStore:
    """Keeps code in `STATE_DIR/code` and merged layers in `STATE_DIR/layers`.

    The same code is kept once, whoever adds it; several processes may use one state directory. What was
    killed half way left nothing that anybody sees. Everything raises ConfigurationError for what cannot be
    code, and OSError where the disk cannot do it (full: ENOSPC); then nothing was kept.

    What it gave out stays until it is released, whatever is pruned.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir.absolute()
        self._code = Shelf(self._state_dir / "code")
        self._layers = Shelf(self._state_dir / "layers")
        self._sizes: dict[str, int] = {}
        # One after the other: they are the disk's work.
        self._limiter = anyio.CapacityLimiter(1)

    async def add(self, source: Path | bytes | InlineCode, runtime: str, handler: str) -> Code:
        """The code of a folder, a zip (a file, or its bytes, which have a limit of their own) or a text.

        Of folders `.git`, `__pycache__` and the state directory are left out.
        """
        return await self._run(partial(self._add, source, runtime, handler))

    async def find(self, code_sha256: str) -> Code | None:
        """Code that was added before, by its hash."""
        return await self._run(partial(self._find, code_sha256))

    async def layers(self, sources: Sequence[Path], function_size: int) -> Layers:
        """Up to five folders or zips in one folder: where two have the same file, that of the later one.

        `function_size`: of the code they are for, unpacked.
        """
        return await self._run(partial(self._merged, sources, function_size))

    async def stamp(self, source: Path) -> str:
        """Another text when the folder or zip has changed, without reading it; empty if it is not there."""
        return await self._run(partial(self._stamp, source))

    async def prune(self, keep: Collection[str], layers: Collection[str] = ()) -> int:
        """Removes code that nobody uses but that of these hashes (`Code.sha256`), and merged layers but
        those of these names (of `Layers.folder`); how many folders went.
        """
        kept = {b64decode(one).hex() for one in keep}
        return await self._run(
            lambda: len(self._code.prune(kept)) + len(self._layers.prune(frozenset(layers)))
        )

    async def hold(self, folder: Path) -> bool:
        """Code or merged layers that were given out once, to this process or another: they stay from now
        on. Whether they are there.
        """
        for shelf in (self._code, self._layers):
            if folder.parent == shelf.place:
                return await self._run(partial(shelf.hold, folder.name)) is not None
        return False

    def release(self, given: Code | Layers) -> None:
        """Nobody here uses it any more, or will before it is added again."""
        if isinstance(given, Code):
            self._code.release(given.folder.name)
        elif given.folder is not None:
            self._layers.release(given.folder.name)

    def close(self) -> None:
        """Releases all."""
        self._code.close()
        self._layers.close()

    async def _run(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)

    # ------------------------------------------------------------------------------------------ in threads

    def _add(self, source: Path | bytes | InlineCode, runtime: str, handler: str) -> Code:
        if isinstance(source, InlineCode):
            return self._add_text(source.text.encode(), file_name(source, runtime, handler))
        if isinstance(source, bytes):
            if len(source) >= ZIPPED_LIMIT:
                fix = "put it where it can be fetched, or name the unpacked folder"
                raise refused(f"Zipped size must be smaller than {ZIPPED_LIMIT} bytes", fix)
            return self._add_zip(io.BytesIO(source))
        return self._add_path(source)

    def _add_path(self, source: Path) -> Code:
        with folders.readable():
            is_folder, is_file = source.is_dir(), source.is_file()
        if is_folder:
            return self._add_folder(source)
        if is_file:
            with folders.readable():
                file = source.open("rb")
            with file:
                return self._add_zip(file)
        raise refused(f"{source} is no folder and no zip", "check the path")

    def _add_zip(self, file: _File) -> Code:
        # No zip is larger than what it holds, but for what does not belong there.
        if file.seek(0, io.SEEK_END) >= UNZIPPED_LIMIT:
            raise too_large()
        name = _hashed(file)

        def write(writer: Writer) -> bytes:
            unpack(file, writer)
            if _hashed(file) != name:
                raise refused("the zip is being written to", "deploy it when that is over")
            return name

        return self._find_name(name) or self._filled(write)

    def _add_text(self, text: bytes, file: str) -> Code:
        tree = {file: Entry(Kind.FILE)}
        name = hash_of(tree, {file: sha256(text).digest()})

        def write(writer: Writer) -> bytes:
            writer.file(file, tree[file], [text])
            return name

        return self._find_name(name) or self._filled(write)

    def _add_folder(self, source: Path) -> Code:
        for left in reversed(range(_TRIES)):
            try:
                before = self._look(source)
                known = self._find_name(folders.hashed(source, before))
                code = known or self._filled(partial(folders.copied, source, before))
                if self._look(source).stamp == before.stamp:
                    return code
            except (FileNotFoundError, NotADirectoryError):
                # Something went away, or became something else, while it was read.
                if not left:
                    raise
        raise refused(f"{source} is being written to", "deploy it when that is over")

    def _look(self, source: Path) -> folders.Look:
        return folders.look(source, left_out=folders.LEFT_OUT, leave=self._state_dir)

    def _filled(self, write: Callable[[Writer], bytes]) -> Code:
        """Code that a function writes, which gives its hash."""
        while True:
            digest = bytes.fromhex(self._code.fill(partial(_write, write)))
            code = self._find_name(digest)
            if code is not None:
                return code

    def _find(self, code_sha256: str) -> Code | None:
        try:
            digest = b64decode(code_sha256, validate=True)
        except ValueError:
            return None
        return self._find_name(digest) if len(digest) == _HASH_SIZE else None

    def _find_name(self, digest: bytes) -> Code | None:
        name = digest.hex()
        place = self._code.hold(name)
        if place is None:
            return None
        if name not in self._sizes:
            self._sizes[name] = folders.look(place).size
        return Code(b64encode(digest).decode(), place, self._sizes[name])

    def _merged(self, sources: Sequence[Path], function_size: int) -> Layers:
        if len(sources) > _MOST_LAYERS:
            said = f"Cannot reference more than {_MOST_LAYERS} layers."
            raise refused(said, "merge some of them", field="Layers")
        if not sources:
            return Layers(None)
        layers = [self._add_layer(source) for source in sources]
        size = function_size + sum(layer.size for layer in layers)
        if size > UNZIPPED_LIMIT:
            said = f"Function code combined with layers exceeds the maximum allowed size of {UNZIPPED_LIMIT}"
            said = f"{said} bytes. The actual size is {size} bytes."
            raise refused(said, "leave out what the function does not need", field="Layers")
        hashes = tuple(layer.sha256 for layer in layers)
        name = sha256("\n".join(hashes).encode()).hexdigest()

        def write(draft: Path) -> str:
            merge([layer.folder for layer in layers], Writer(draft))
            return name

        place = self._layers.hold(name)
        while place is None:
            self._layers.fill(write)
            place = self._layers.hold(name)
        return Layers(place, hashes)

    def _add_layer(self, source: Path) -> Code:
        try:
            return self._add_path(source)
        except ConfigurationError as error:
            raise refused(f"{source}: {error.problem}", error.fix, field="Layers") from error

    def _stamp(self, source: Path) -> str:
        try:
            if source.is_dir():
                return self._look(source).stamp
            return folders.stamp_of_file(source)
        except FileNotFoundError:
            return ""


def _write(write: Callable[[Writer], bytes], draft: Path) -> str:
    writer = Writer(draft)
    name = write(writer)
    writer.close()
    return name.hex()


def _hashed(file: _File) -> bytes:
    file.seek(0)
    return file_digest(file, "sha256").digest()
