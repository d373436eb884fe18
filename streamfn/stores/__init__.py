"""Lease stores: in memory, and in a SQLite file."""

from streamfn.stores.memory import MemoryLeaseStore as MemoryLeaseStore
from streamfn.stores.sqlite import SqliteLeaseStore as SqliteLeaseStore
