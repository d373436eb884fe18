"""The tables of the embedded broker, and how they are numbered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from streamfn.stores.sqlite import LEASE_SCHEMA, WIDE_POSITIONS

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from streamfn.core.records import Headers

FILE: Final = "local.sqlite3"
"""The broker's file in a state directory."""

PER_PARENT: Final = 1 << 40
"""A record's row number is its shard's number times this, plus its position: one shard's records lie side by
side, and are appended at one place. Messages of queues likewise."""

_BROKER_SCHEMA = """
CREATE TABLE streams (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  retention REAL,
  max_records INTEGER,
  max_bytes INTEGER,
  created_at REAL NOT NULL
);
CREATE TABLE shards (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  stream INTEGER NOT NULL,
  number INTEGER NOT NULL,
  next INTEGER NOT NULL DEFAULT 0,
  oldest INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0,
  changed INTEGER NOT NULL,
  UNIQUE (stream, number)
);
CREATE INDEX shards_changed ON shards (changed);
CREATE TABLE records (
  id INTEGER PRIMARY KEY,
  arrived_at REAL NOT NULL,
  key BLOB,
  headers BLOB,
  value BLOB NOT NULL
);
CREATE TABLE queues (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  visibility_timeout REAL NOT NULL,
  delay REAL NOT NULL,
  retention REAL,
  max_receive_count INTEGER,
  dead_letter TEXT,
  content_based_deduplication INTEGER NOT NULL,
  created_at REAL NOT NULL,
  next INTEGER NOT NULL DEFAULT 1,
  messages INTEGER NOT NULL DEFAULT 0,
  changed INTEGER NOT NULL
);
CREATE INDEX queues_changed ON queues (changed);
CREATE TABLE messages (
  id INTEGER PRIMARY KEY,
  queue INTEGER NOT NULL,
  visible_at REAL NOT NULL,
  receive_count INTEGER NOT NULL DEFAULT 0,
  receipt INTEGER,
  first_received_at REAL,
  message_id TEXT NOT NULL,
  sent_at REAL NOT NULL,
  fifo INTEGER NOT NULL,
  key BLOB,
  deduplication_id TEXT,
  source TEXT,
  headers BLOB,
  value BLOB NOT NULL
);
CREATE INDEX messages_visible ON messages (queue, visible_at) WHERE fifo = 0;
CREATE INDEX messages_in_order ON messages (queue, key, id) WHERE fifo = 1;
CREATE TABLE message_groups (
  queue INTEGER NOT NULL,
  key BLOB NOT NULL,
  ready_at REAL NOT NULL,
  PRIMARY KEY (queue, key)
) WITHOUT ROWID;
CREATE INDEX message_groups_ready ON message_groups (queue, ready_at);
CREATE TABLE deduplications (
  queue INTEGER NOT NULL,
  deduplication_id TEXT NOT NULL,
  message_id TEXT NOT NULL,
  sent_at REAL NOT NULL,
  PRIMARY KEY (queue, deduplication_id)
) WITHOUT ROWID;
CREATE INDEX deduplications_sent ON deduplications (queue, sent_at);
CREATE INDEX leases_changed ON leases (changed)
"""

_EVENTS = """
ALTER TABLE messages ADD COLUMN note BLOB;
ALTER TABLE messages ADD COLUMN reader INTEGER;
CREATE TABLE readers (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  queue INTEGER NOT NULL,
  owner TEXT NOT NULL
)
"""

SCRIPTS: Final = (LEASE_SCHEMA + ";" + _BROKER_SCHEMA, WIDE_POSITIONS, _EVENTS)
"""The steps of the schema. A step that was released is never changed: a new one is added."""


def shard_channel(shard: int) -> Hashable:
    """What waits for a shard waits for this; its value is the next position."""
    return "shard", shard


def queue_channel(queue: int) -> Hashable:
    """What waits for a queue waits for this; its value is the stamp of the last change."""
    return "queue", queue


def pack_text(text: str | None) -> bytes | None:
    """Keys as bytes: one that was bytes and no text is kept as it was."""
    return None if text is None else text.encode("utf-8", "surrogateescape")


def unpack_text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "surrogateescape")


def pack_headers(headers: Headers) -> bytes | None:
    """Headers as JSON of Latin-1 text, which is bytes one to one; None where there are none."""
    if not headers:
        return None
    return orjson.dumps(
        [
            (name.encode("utf-8", "surrogateescape").decode("latin-1"), value.decode("latin-1"))
            for name, value in headers
        ]
    )


def unpack_headers(data: bytes | None) -> Sequence[tuple[str, bytes]]:
    if data is None:
        return ()
    return [
        (name.encode("latin-1").decode("utf-8", "surrogateescape"), value.encode("latin-1"))
        for name, value in orjson.loads(data)
    ]
