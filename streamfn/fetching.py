"""Code of functions as files of this machine: what lies in S3 is fetched first."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

import anyio.to_thread

from streamfn.errors import ConfigurationError
from streamfn.packages.tree import UNZIPPED_LIMIT, too_large

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import IO

    from streamfn.objects import Objects

S3: Final = "s3://"
"""How the address of code that lies in S3 begins: `s3://BUCKET/KEY?versionId=ID`, as in SAM."""


def local(uri: str) -> Path:
    """The path that is written for code of this machine."""
    return Path(uri).expanduser()


@asynccontextmanager
async def fetched(uri: str, folder: Path, objects: Objects) -> AsyncIterator[Path]:
    """Where code is. What comes from S3 has no name in `folder`, so that nothing of it is left, and is there
    until the block ends.

    Raises ConfigurationError where it cannot be had, or is too large.
    """
    if not uri.startswith(S3):
        yield local(uri)
        return
    place, _, query = uri.removeprefix(S3).partition("?")
    bucket, _, key = place.partition("/")
    if not bucket or not key:
        raise ConfigurationError(f"{uri} names no object", fix="write s3://BUCKET/KEY")
    version = parse_qs(query).get("versionId", [None])[0]
    with await anyio.to_thread.run_sync(_opened, folder) as file:
        size = 0

        async def take(piece: bytes) -> None:
            nonlocal size
            size += len(piece)
            if size >= UNZIPPED_LIMIT:
                raise too_large()
            await anyio.to_thread.run_sync(file.write, piece)

        try:
            await objects(bucket, key, version, take)
            await anyio.to_thread.run_sync(file.flush)
        except FileNotFoundError as error:
            raise ConfigurationError(f"{uri} does not exist", fix="check bucket and key") from error
        except OSError as error:
            fix = "see that it can be reached, and what `endpoints` says of s3"
            raise ConfigurationError(f"{uri} cannot be fetched: {error}", fix=fix) from error
        yield Path(f"/proc/self/fd/{file.fileno()}")


def _opened(folder: Path) -> IO[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    return TemporaryFile(dir=folder)
