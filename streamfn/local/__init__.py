"""The embedded broker: durable streams and queues in one SQLite file per state directory.

`local:NAME` is a stream, `local:queue/NAME` a queue, a FIFO queue if its name ends in `.fifo`; both as a
source and as a destination. The file is `local.sqlite3` in the state directory: the option `state_dir`, or
the environment's STREAMFN_STATE_DIR, or `.streamfn`.
"""

from streamfn.local.broker import Broker as Broker
from streamfn.local.destination import LocalDestination as LocalDestination
from streamfn.local.events import LocalEvents as LocalEvents
from streamfn.local.functions import FunctionDestination as FunctionDestination
from streamfn.local.letters import LocalFetcher as LocalFetcher
from streamfn.local.letters import LocalLetters as LocalLetters
from streamfn.local.messages import QueueMessage as QueueMessage
from streamfn.local.queues import QueueOptions as QueueOptions
from streamfn.local.sequence_letters import SequenceLetters as SequenceLetters
from streamfn.local.sequences import LocalSequences as LocalSequences
from streamfn.local.sequences import opened_sequences as opened_sequences
from streamfn.local.source import LocalQueue as LocalQueue
from streamfn.local.source import LocalSource as LocalSource
from streamfn.local.source import LocalStream as LocalStream
from streamfn.local.streams import StreamOptions as StreamOptions
