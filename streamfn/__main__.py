"""`python -m streamfn` is `streamfn`."""

import sys

from streamfn.cli import main

if __name__ == "__main__":
    sys.exit(main())
