"""Operating dead letters: looking through their stores, redriving, purging, taking them elsewhere.

What is decided is pure: which letters are meant (`selection`), where each goes (`targets`), what there is
(`statistics`), and the form in which they travel (`portable`). `box` is a store with its `audit`; `redriving`
and `purging` change it.
"""

from streamfn.letters.audit import Audit as Audit
from streamfn.letters.audit import Done as Done
from streamfn.letters.audit import Entry as Entry
from streamfn.letters.audit import Run as Run
from streamfn.letters.audit import new_run as new_run
from streamfn.letters.box import Box as Box
from streamfn.letters.box import Found as Found
from streamfn.letters.box import alone as alone
from streamfn.letters.ends import Ends as Ends
from streamfn.letters.ends import writable as writable
from streamfn.letters.purging import purge as purge
from streamfn.letters.redriving import Redrive as Redrive
from streamfn.letters.report import Fate as Fate
from streamfn.letters.report import Report as Report
from streamfn.letters.selection import Selection as Selection
from streamfn.letters.selection import moment as moment
from streamfn.letters.statistics import Statistics as Statistics
from streamfn.letters.targets import Order as Order
