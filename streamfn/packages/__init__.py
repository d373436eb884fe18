"""Code of functions and their layers: from folders, zips and inline text into folders that never change."""

from __future__ import annotations

from streamfn.packages.inline import InlineCode as InlineCode
from streamfn.packages.store import Code as Code
from streamfn.packages.store import CodeStore as CodeStore
from streamfn.packages.store import Layers as Layers
