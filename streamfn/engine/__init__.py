"""The engine: one worker for streams and queues, and what keeps workers going.

`supervisor` starts a `mapping` for each declared event source mapping; a mapping has a `worker` for each
shard; a worker reads, lets records wait in lanes, delivers batches through the function's `pool`, asks
`core.delivery` what becomes of them, sends what is given up through the `router`, and leaves the rest to its
settler.
"""
