"""The code of functions and layers: taken in from requests, kept, and handed out again."""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import b64decode
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from streamfn.control.drafts import Draft
from streamfn.control.errors import ApiError, invalid
from streamfn.control.messages import HttpResponse
from streamfn.control.zipping import zipped
from streamfn.errors import ConfigurationError
from streamfn.packages import CodeStore
from streamfn.packages.tree import UNZIPPED_LIMIT, too_large
from streamfn.ports import NoSuchBucket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Mapping

    from streamfn.control.plane import Params, Plane

LOCAL_BUCKET: Final = "__local__"
"""The `S3Bucket` of code that is a folder or a zip on this machine."""

_FOLDER: Final = "uploads"
"""In the state directory: zips as they were sent, by their hashes, and drafts of those that are coming."""
_UNPACKED: Final = "code"
"""The folder of CodeStore."""
_PREFIX: Final = "/_code/"
_SECRET: Final = secrets.token_bytes(32)
"""Addresses of code hold until the process ends, or for `_SECONDS`."""
_SECONDS: Final = 600
_LARGE: Final = 1024 * 1024
"""Bytes above which a zip is handed out piece by piece."""
_IMAGE: Final = re.compile(r"[a-zA-Z0-9][\w.:/@-]*")
_NO_BUCKET: Final = "S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not exist"
_NO_KEY: Final = "S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."
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
        async with self._draft() as draft:
            source = await self._sent(given, draft)
            name = draft.sha256
            with self._safe(name):
                unpacked, hashed = await self._added(source)
                if not dry:
                    async with self._changing:
                        await anyio.to_thread.run_sync(draft.keep, self._folder / f"{name}.zip")
                yield {"Upload": name, "CodeSha256": hashed, "CodeSize": draft.size, "Unpacked": unpacked}

    def path(self, code: Mapping[str, Any]) -> Path:
        """Where a zip, or local code, is. Raises ApiError for local code that is not allowed any more."""
        if "Upload" in code:
            return self._folder / f"{code['Upload']}.zip"
        return self._allowed(code["Path"])

    async def prune(self, kept: Collection[str]) -> None:
        """Removes zips but those of these hashes, and what is being taken in. Raises OSError."""
        async with self._changing:
            names = {*kept, *self._taken}
            await anyio.to_thread.run_sync(_remove, self._folder, names)

    def location(self, code: Mapping[str, Any]) -> str | None:
        """An address that gives the zip for ten minutes; None where there is none."""
        if "CodeSha256" not in code:
            return None
        name = b64decode(code["CodeSha256"]).hex()
        until = int(self._plane.clock()) + _SECONDS
        return f"{self._plane.url}{_PREFIX}{_token(name, until)}"

    # ------------------------------------------------------------------------------------------- sources

    async def _sent(self, given: Params, draft: Draft) -> bytes | Path:
        """A zip that was sent, or that lies in S3; the draft holds it then."""
        data, bucket = given.get("ZipFile"), given.get("S3Bucket")
        if data is not None:
            if bucket or given.get("S3Key"):
                raise invalid("Please do not provide other FunctionCode parameters when providing a ZipFile.")
            await anyio.to_thread.run_sync(draft.write, data)
            return bytes(data)
        if not bucket or not given.get("S3Key"):
            raise invalid("Please provide a source for function code.")
        await self._fetch(bucket, given["S3Key"], given.get("S3ObjectVersion"), draft)
        return draft.path

    async def _fetch(self, bucket: str, key: str, version: str | None, draft: Draft) -> None:
        if self._plane.objects is None:
            raise invalid(
                "No server is known that code could be fetched from: name one for s3 in `endpoints`, send "
                f"ZipFile, or name local code with S3Bucket {LOCAL_BUCKET}."
            )

        async def take(piece: bytes) -> None:
            # No zip is larger than what it holds, but for what does not belong there.
            if draft.size + len(piece) >= UNZIPPED_LIMIT:
                raise invalid(too_large().problem)
            try:
                await anyio.to_thread.run_sync(draft.write, piece)
            except OSError as error:
                raise ApiError("ServiceException", f"The code could not be stored: {error}") from error

        try:
            await self._plane.objects(bucket, key, version, take)
        except FileNotFoundError as error:
            said = _NO_BUCKET if isinstance(error, NoSuchBucket) else _NO_KEY
            raise invalid(f"Error occurred while GetObject. {said}") from error
        except (OSError, ConfigurationError) as error:
            raise invalid(f"Error occurred while GetObject. S3 Error Message: {error}") from error

    @asynccontextmanager
    async def _draft(self) -> AsyncIterator[Draft]:
        """A new file among the zips, which goes at the end unless it was kept."""
        name = f".{secrets.token_hex(8)}"
        with self._safe(name):
            async with self._changing:
                draft = await anyio.to_thread.run_sync(Draft, self._folder / name)
            try:
                yield draft
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(draft.discard)

    @contextmanager
    def _safe(self, name: str) -> Iterator[None]:
        """Nothing of that name is pruned meanwhile."""
        self._taken[name] += 1
        try:
            yield
        finally:
            self._taken[name] -= 1
            if not self._taken[name]:
                del self._taken[name]

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
    body = _pieces(data) if isinstance(data, Path) else data
    return HttpResponse(200, [("content-type", "application/zip")], body)


def _found(state_dir: Path, name: str) -> bytes | Path:
    """A zip as it was sent, or where it lies if it is large; of local code one of what was taken of it."""
    path = state_dir / _FOLDER / f"{name}.zip"
    try:
        return path if path.stat().st_size > _LARGE else path.read_bytes()
    except FileNotFoundError:
        return zipped(state_dir / _UNPACKED / name)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    async with await anyio.open_file(path, "rb") as file:
        while piece := await file.read(_LARGE):
            yield piece


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


def _remove(folder: Path, kept: Collection[str]) -> None:
    if not folder.exists():
        return
    for path in folder.iterdir():
        if path.stem not in kept:
            path.unlink()
