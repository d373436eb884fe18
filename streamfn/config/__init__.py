"""Configuration: what users write, checked, and turned into the core's values.

pydantic lives here and nowhere below, so importing this package costs what pydantic costs: `streamfn` itself
imports it when the first mapping is declared.
"""

from streamfn.config.endpoints import Endpoint as Endpoint
from streamfn.config.endpoints import endpoints_of as endpoints_of
from streamfn.config.endpoints import read_endpoints as read_endpoints
from streamfn.config.errors import ConfigurationErrors as ConfigurationErrors
from streamfn.config.errors import Places as Places
from streamfn.config.errors import problems as problems
from streamfn.config.function import FunctionConfig as FunctionConfig
from streamfn.config.invoking import EventInvokeConfig as EventInvokeConfig
from streamfn.config.kinds import DYNAMODB as DYNAMODB
from streamfn.config.kinds import FIFO as FIFO
from streamfn.config.kinds import KAFKA as KAFKA
from streamfn.config.kinds import QUEUE as QUEUE
from streamfn.config.kinds import STREAM as STREAM
from streamfn.config.kinds import Kind as Kind
from streamfn.config.kinds import kind_of as kind_of
from streamfn.config.mapping import EventSourceMapping as EventSourceMapping
from streamfn.config.mapping import OnPositionLost as OnPositionLost
from streamfn.config.settings import Settings as Settings
from streamfn.config.settings import settings_of as settings_of
