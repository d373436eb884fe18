"""streamfn: AWS Lambda's event source mappings without AWS."""

from streamfn.app import App as App
from streamfn.app import MappingStatus as MappingStatus
from streamfn.core.records import Batch as Batch
from streamfn.core.records import Record as Record
from streamfn.errors import ConfigurationError as ConfigurationError
from streamfn.errors import StreamfnError as StreamfnError
from streamfn.errors import TooManyRequests as TooManyRequests

__version__ = "0.1.0"

__all__ = [
    "App",
    "Batch",
    "ConfigurationError",
    "MappingStatus",
    "Record",
    "StreamfnError",
    "TooManyRequests",
    "__version__",
]
