"""Takes long to be initialised, as the variable SECONDS says."""

import os
from threading import Event

Event().wait(float(os.environ["SECONDS"]))


def handler(event, context):
    return "there"
