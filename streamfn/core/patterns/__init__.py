"""The event-pattern language of FilterCriteria and EventBridge, compiled. Pure; the standard library only."""

from __future__ import annotations

from streamfn.core.patterns.compiling import Predicate as Predicate
from streamfn.core.patterns.compiling import compile_rules as compile_rules
from streamfn.core.patterns.parsing import parse as parse
