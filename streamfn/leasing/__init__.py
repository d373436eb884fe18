"""Shards by leases: for sources that have no group protocol of their own.

`LeasedShards` turns a lease store and three calls of a source into `StreamSource.shards`: it looks at the
leases, follows `plan_leases`, renews what it has, and gives back what others ask for. Commits go through the
lease, so a worker that lost a shard cannot move its checkpoint.
"""

from streamfn.leasing.asked import Shardable as Shardable
from streamfn.leasing.asked import ShardReader as ShardReader
from streamfn.leasing.group import LeasedShards as LeasedShards
from streamfn.leasing.group import Pause as Pause
from streamfn.leasing.names import is_dead_here as is_dead_here
from streamfn.leasing.names import worker_name as worker_name
from streamfn.leasing.shard import LeasedShard as LeasedShard
