"""Dead letters: what is kept of a record that was given up, and what is found in a store of them. Pure.

The envelope is AWS's own record about the failure, with `deadLetter` beside it: whoever reads the one reads
the other. Read are those, the on-failure records of Lambda, the messages of its dead-letter queues, and plain
messages.
"""

from streamfn.core.letters.contents import Content as Content
from streamfn.core.letters.contents import contents_of as contents_of
from streamfn.core.letters.contents import place_of as place_of
from streamfn.core.letters.envelope import REDRIVES as REDRIVES
from streamfn.core.letters.envelope import Origin as Origin
from streamfn.core.letters.envelope import given_up_again as given_up_again
from streamfn.core.letters.envelope import letter as letter
from streamfn.core.letters.envelope import redrives_of as redrives_of
from streamfn.core.letters.envelope import trace_of as trace_of
from streamfn.core.letters.reading import Form as Form
from streamfn.core.letters.reading import Letter as Letter
from streamfn.core.letters.reading import Stored as Stored
from streamfn.core.letters.reading import read_letter as read_letter
