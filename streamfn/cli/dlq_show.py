"""`streamfn dlq ls`, `show`, `stats` and `stores`: looking changes nothing."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson

from streamfn.cli import CLEAN, CUT_OFF
from streamfn.cli.dlq import age, clock, command, dumps, opened, selection, state_dir, store_and_rest
from streamfn.cli.dlq_words import counts, listed, pretty, readable, row, whole
from streamfn.cli.table import table
from streamfn.core.letters import Form, Stored, read_letter
from streamfn.errors import ConfigurationError
from streamfn.letters import Found, Selection, Statistics
from streamfn.local import Broker, admin
from streamfn.local.letters import DEFAULT
from streamfn.local.schema import FILE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path


@command
def ls(options: argparse.Namespace) -> int:
    """Lists letters. 1: ids were asked for that the store does not have."""
    return asyncio.run(_ls(options))


async def _ls(options: argparse.Namespace) -> int:
    store, ids = store_and_rest(options.places)
    shown: list[Found] = []
    more = done = 0
    seen: set[str] = set()
    chosen = selection(options, ids)
    async with opened(options, store) as box, aclosing(box.letters(chosen)) as chunks:
        async for chunk in chunks:
            for found in chunk:
                seen.add(found.stored.id)
                if found.is_done and not options.all:
                    done += 1
                elif len(shown) < options.limit:
                    shown.append(found)
                else:
                    more += 1
            if not ids:
                seen.clear()
            if len(shown) == options.limit and chosen.takes_all and box.store.removes:
                total = await box.count()
                if total is not None:
                    # Nobody has to read the rest to know how much it is.
                    more = max(0, total - len(shown) - done)
                    break
    if options.json:
        sys.stdout.write(dumps([row(found) for found in shown]))
    elif shown:
        sys.stdout.write(listed(shown))
    else:
        sys.stdout.write(f"no dead letters in {store}{' that fit' if not chosen.takes_all else ''}\n")
    if more:
        sys.stderr.write(f"and {more:,} more: --limit {len(shown) + more} shows them\n")
    if done:
        sys.stderr.write(f"{done:,} that were redriven or purged are hidden: --all shows them\n")
    return _missing(store, set(ids) - seen)


@command
def show(options: argparse.Namespace) -> int:
    """Shows all of one letter. 1: there is none of that id."""
    store, ids = store_and_rest(options.places)
    if len(ids) != 1:
        raise ConfigurationError(
            "one letter is shown at a time", fix="write its id; `streamfn dlq ls` has them"
        )
    found = asyncio.run(_one(options, store, ids[0]))
    if found is None:
        return _missing(store, set(ids))
    if options.json:
        sys.stdout.write(pretty(whole(found)) + "\n")
    else:
        sys.stdout.write(readable(found))
    return CLEAN


async def _one(options: argparse.Namespace, store: str, letter: str) -> Found | None:
    wanted = Selection(frozenset((letter,)))
    async with opened(options, store) as box, aclosing(box.letters(wanted)) as chunks:
        async for chunk in chunks:
            return chunk[0]
    return None


@command
def stats(options: argparse.Namespace) -> int:
    """Counts letters. 1: ids were asked for that the store does not have."""
    store, ids = store_and_rest(options.places)
    counted, seen = asyncio.run(_stats(options, store, ids))
    if options.json:
        sys.stdout.write(dumps({"store": store.partition("?")[0], **counted.document()}))
    else:
        sys.stdout.write(counts(counted, store.partition("?")[0]))
    return _missing(store, set(ids) - seen)


async def _stats(options: argparse.Namespace, store: str, ids: list[str]) -> tuple[Statistics, set[str]]:
    counted = Statistics()
    seen: set[str] = set()
    async with opened(options, store) as box, aclosing(box.letters(selection(options, ids))) as chunks:
        async for chunk in chunks:
            for found in chunk:
                if ids:
                    seen.add(found.stored.id)
                if not found.is_done:
                    counted.add(found.letter)
    return counted, seen


@command
def stores(options: argparse.Namespace) -> int:
    """Lists what of a state directory holds dead letters."""
    rows = asyncio.run(_stores(state_dir(options)))
    if options.json:
        sys.stdout.write(dumps(rows))
    elif rows:
        now = clock()
        cells = [
            (one["store"], one["letters"], age(one["oldest"], now), one["behind"], ", ".join(one["of"]))
            for one in rows
        ]
        sys.stdout.write(table(("STORE", "LETTERS", "OLDEST", "BEHIND", "DEAD-LETTER QUEUE OF"), cells))
    else:
        sys.stdout.write(f"no dead letters in {state_dir(options)}\n")
    return CLEAN


async def _stores(folder: Path) -> list[dict[str, Any]]:
    path = folder / FILE
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    async with Broker(path) as broker:
        for queue in await admin.list_queues(broker):
            first = await admin.peek(broker, queue.name, limit=1)
            known = queue.name == DEFAULT or queue.dead_letters_of
            if first and (known or _is_letter(first[0].value)):
                letters = queue.visible + queue.in_flight + queue.delayed
                of = [f"local:queue/{name}" for name in queue.dead_letters_of]
                name = f"local:queue/{queue.name}"
                rows.append(_store(name, letters, queue.oldest_sent_at, of))
        for sequence in await admin.list_sequences(broker):
            name = f"sequence:{sequence.group}"
            rows.append(_store(name, sequence.letters, sequence.oldest_sent_at, behind=sequence.behind))
        for stream in await admin.list_streams(broker):
            heads = [
                record
                for shard in range(stream.shards)
                for record in await admin.peek_stream(broker, stream.name, shard=shard, after=-1, limit=1)
            ]
            if any(_is_letter(record.value or b"") for record in heads):
                oldest = min(record.arrived_at for record in heads)
                name = f"local:{stream.name}"
                rows.append(_store(name, stream.records, oldest))
    return rows


def _store(
    name: str, letters: int, oldest: float | None, of: Sequence[str] = (), behind: int = 0
) -> dict[str, Any]:
    return {"store": name, "letters": letters, "oldest": oldest, "behind": behind, "of": list(of)}


def _is_letter(body: bytes) -> bool:
    return read_letter(Stored("", body), orjson.loads).form is not Form.MESSAGE


def _missing(store: str, ids: set[str]) -> int:
    for one in sorted(ids):
        sys.stderr.write(f"streamfn: there is no letter {one} in {store}\n")
    return CUT_OFF if ids else CLEAN
