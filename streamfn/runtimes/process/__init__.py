"""The process runtime: each execution environment is an operating-system process."""

from __future__ import annotations

from streamfn.runtimes.process.launchers import Launchers as Launchers
from streamfn.runtimes.process.logfiles import FolderSink as FolderSink
from streamfn.runtimes.process.logs import LoggerSink as LoggerSink
from streamfn.runtimes.process.logs import LogSink as LogSink
from streamfn.runtimes.process.runtime import ProcessRuntime as ProcessRuntime
from streamfn.runtimes.process.sandbox import Allowed as Allowed
