"""The code of functions and layers: taken in from requests, kept, and handed out again."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from base64 import b64decode, b64encode
from collections import Counter
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from streamfn.control.errors import invalid
from streamfn.control.messages import HttpResponse
from streamfn.control.zipping import zipped
from streamfn.errors import ConfigurationError
from streamfn.packages import CodeStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Mapping

    from streamfn.control.plane import Params, Plane

LOCAL_BUCKET: Final = "__local__"
"""The `S3Bucket` of code that is a folder or a zip on this machine."""

_FOLDER: Final = "uploads"
"""In the state directory: zips as they were sent, by their hashes."""
_UNPACKED: Final = "code"
"""The folder of CodeStore."""
_PREFIX: Final = "/_code/"
_SECRET: Final = secrets.token_bytes(32)
"""Addresses of code hold until the process ends, or for `_SECONDS`."""
_SECONDS: Final = 600
_IMAGE: Final = re.compile(r"[a-zA-Z0-9][\w.:/@-]*")
_NOT_A_ZIP: Final = "Could not unzip uploaded file. Please check your file, then try to upload again."


class Uploads:
    """Takes in code, and keeps what came as bytes while anything refers to it.

    What it makes of code is a document: `Upload` (the hash of a zip that is kept), `Path` (local code) or
    `ImageUri`; with `CodeSha256`, `CodeSize` and `Unpacked`, bytes, where it is known.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._folder = plane.state_dir / _FOLDER
        self._store = CodeStore(plane.state_dir)
        self._changing = anyio.Lock()
        self._taken: Counter[str] = Counter()

    @asynccontextmanager
    async def taking(self, given: Params, *, dry: bool = False) -> AsyncIterator[dict[str, Any]]:
        """The code that a request gives, checked; durable, unless `dry`, and safe from `prune` in the block:
        until something refers to it.

        Raises ApiError for what cannot be code or be had.
        """
        if given.get("ImageUri"):
            yield _image(given["ImageUri"])
            return
        if given.get("S3Bucket") == LOCAL_BUCKET:
            yield await self._local(given.get("S3Key", ""))
            return
        data = await self._sent(given)
        name = sha256(data).hexdigest()
        self._taken[name] += 1
        try:
            unpacked = await self._unpacked(data)
            if not dry:
                async with self._changing:
                    await anyio.to_thread.run_sync(_write, self._folder, name, data)
            hashed = b64encode(bytes.fromhex(name)).decode()
            yield {"Upload": name, "CodeSha256": hashed, "CodeSize": len(data), "Unpacked": unpacked}
        finally:
            self._taken[name] -= 1

    def path(self, code: Mapping[str, Any]) -> Path:
        """Where a zip, or local code, is. Raises ApiError for local code that is not allowed any more."""
        if "Upload" in code:
            return self._folder / f"{code['Upload']}.zip"
        return self._allowed(code["Path"])

    async def prune(self, kept: Collection[str]) -> None:
        """Removes zips but those of these hashes, and what is being taken in. Raises OSError."""
        async with self._changing:
            names = {*kept, *(+self._taken)}
            await anyio.to_thread.run_sync(_remove, self._folder, names)

    def location(self, code: Mapping[str, Any]) -> str | None:
        """An address that gives the zip for ten minutes; None where there is none."""
        if "CodeSha256" not in code:
            return None
        name = b64decode(code["CodeSha256"]).hex()
        until = int(self._plane.clock()) + _SECONDS
        return f"{self._plane.url}{_PREFIX}{_token(name, until)}"

    # ------------------------------------------------------------------------------------------- sources

    async def _sent(self, given: Params) -> bytes:
        data, bucket = given.get("ZipFile"), given.get("S3Bucket")
        if data is not None:
            if bucket or given.get("S3Key"):
                raise invalid("Please do not provide other FunctionCode parameters when providing a ZipFile.")
            return bytes(data)
        if not bucket or not given.get("S3Key"):
            raise invalid("Please provide a source for function code.")
        if self._plane.objects is None:
            raise invalid(
                "No server is known that code could be fetched from: name one for s3 in `endpoints`, send "
                f"ZipFile, or name local code with S3Bucket {LOCAL_BUCKET}."
            )
        try:
            return await self._plane.objects(bucket, given["S3Key"], given.get("S3ObjectVersion"))
        except FileNotFoundError as error:
            raise invalid(
                "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified "
                "key does not exist."
            ) from error
        except (OSError, ConfigurationError) as error:
            raise invalid(f"Error occurred while GetObject. S3 Error Message: {error}") from error

    async def _local(self, key: str) -> dict[str, Any]:
        path = await anyio.to_thread.run_sync(self._allowed, key)
        size = (await anyio.Path(path).stat()).st_size if await anyio.Path(path).is_file() else None
        unpacked, hashed = await self._added(path)
        return {
            "Path": str(path),
            "CodeSha256": hashed,
            "CodeSize": unpacked if size is None else size,
            "Unpacked": unpacked,
        }

    def _allowed(self, key: str) -> Path:
        folders = [folder.resolve() for folder in self._plane.code_dirs]
        try:
            path = Path(key).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            path = None
        if path is None or not Path(key).is_absolute() or not any(map(path.is_relative_to, folders)):
            # The same words for what is not there: what lies outside is nobody's business.
            known = ", ".join(map(str, folders)) or "none is given"
            raise invalid(
                f"S3Key {key} is no folder or zip inside of a folder that code may be taken from "
                f"(--code-dir: {known})."
            )
        return path

    async def _unpacked(self, data: bytes) -> int:
        return (await self._added(data))[0]

    async def _added(self, source: bytes | Path) -> tuple[int, str]:
        """Bytes when it is unpacked, which is done in passing, and the hash."""
        try:
            code = await self._store.add(source, "", "")
        except ConfigurationError as error:
            raise invalid(_NOT_A_ZIP if error.problem.startswith(_NOT_A_ZIP) else error.problem) from error
        self._store.release(code)
        return code.size, code.sha256


async def code_response(plane: Plane, path: str) -> HttpResponse | None:
    """The zip that an address of `Uploads.location` stands for; None for what is no such address."""
    name, _, rest = path.removeprefix(_PREFIX).partition(".")
    until = rest.partition(".")[0]
    if not until.isdecimal() or not hmac.compare_digest(
        path.encode(), f"{_PREFIX}{_token(name, int(until))}".encode()
    ):
        return None
    if plane.clock() > int(until):
        return HttpResponse(403, [("content-type", "text/plain")], b"Request has expired")
    try:
        data = await anyio.to_thread.run_sync(_found, plane.state_dir, name)
    except FileNotFoundError:
        return HttpResponse(404, [("content-type", "text/plain")], b"The code was deleted")
    return HttpResponse(200, [("content-type", "application/zip")], data)


def _found(state_dir: Path, name: str) -> bytes:
    """A zip as it was sent; of local code one of what was taken of it."""
    try:
        return (state_dir / _FOLDER / f"{name}.zip").read_bytes()
    except FileNotFoundError:
        return zipped(state_dir / _UNPACKED / name)


def uploads_of(documents: Iterator[Mapping[str, Any]]) -> set[str]:
    """The hashes of zips that functions, versions or layers refer to."""
    found = set()
    for document in documents:
        parts = (document.get("Code"), document.get("Content"), *document.get("Layers", ()))
        found |= {part["Upload"] for part in parts if part and "Upload" in part}
    return found


def check_size(code: Mapping[str, Any], layers: Collection[Mapping[str, Any]], limit: int) -> None:
    """Raises ApiError where code and layers together are too large."""
    size = code.get("Unpacked", 0) + sum(layer["Unpacked"] for layer in layers)
    if layers and size > limit:
        raise invalid(
            f"Function code combined with layers exceeds the maximum allowed size of {limit} bytes. The "
            f"actual size is {size} bytes."
        )


def _image(uri: str) -> dict[str, Any]:
    if not _IMAGE.fullmatch(uri):
        raise invalid(f"Source image {uri} is not valid. Provide a valid source image.")
    return {"ImageUri": uri}


def _token(name: str, until: int) -> str:
    said = f"{name}.{until}"
    return f"{said}.{hmac.new(_SECRET, said.encode(), sha256).hexdigest()}"


def _write(folder: Path, name: str, data: bytes) -> None:
    """All of it or nothing, whenever the machine stops."""
    path = folder / f"{name}.zip"
    if path.exists():
        return
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        _sync(folder.parent)
    draft = folder / f".{name}.{secrets.token_hex(4)}"
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path, kept: Collection[str]) -> None:
    if not folder.exists():
        return
    for path in folder.iterdir():
        if path.stem not in kept:
            path.unlink()
