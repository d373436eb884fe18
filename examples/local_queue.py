"""A FIFO queue in a program of one's own: in order within each group, groups side by side."""

import asyncio
import logging
import tempfile
from dataclasses import dataclass

import structlog

from streamfn import App
from streamfn.local import LocalDestination
from streamfn.ports import Message

# streamfn logs through structlog; the program it is in says what is shown.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))

QUEUE = "local:queue/transfers.fifo"


@dataclass
class Transfer:
    account: str
    cents: int


async def main(state_dir: str) -> None:
    app = App(state_dir=state_dir)
    balances = {"anna": 0, "ben": 0}
    calls: list[Transfer] = []
    finished = asyncio.Event()

    @app.function(each=Transfer)
    async def book(transfer: Transfer) -> None:
        calls.append(transfer)
        if len(calls) == 2:
            raise ConnectionError("the ledger is busy: this comes again, and its group waits for it")
        balances[transfer.account] += transfer.cents
        print(f"{transfer.account} has {balances[transfer.account]}")
        if len(calls) == 5:
            finished.set()

    app.event_source_mapping(book, QUEUE, RetryDelay=0.1, MaximumConcurrency=1)

    bank = LocalDestination(QUEUE, state_dir=state_dir)
    for account, cents in (("anna", 100), ("anna", -50), ("anna", 300), ("ben", 350)):
        await bank.send([Message(b'{"account": "%b", "cents": %d}' % (account.encode(), cents), key=account)])
    async with app:
        await finished.wait()
    await bank.close()


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(folder))

# anna has 100
# ben has 350
# anna has 50
# anna has 350
