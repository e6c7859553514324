"""The engine of long work: define, start, advance, recover (house rules in docs/adr/0003-operations.md).

The row is the truth; a Celery message is a doorbell that may be lost or ring twice.
"""

from portal.operations.control import CANCELLING, cancel, later_than, retry
from portal.operations.engine import advance, due, remember, renew
from portal.operations.plans import Abort, TooLate, define, plan_of, step_names
from portal.operations.start import Busy, active_on, ring, start
from portal.operations.usual import Usual, usual_times, usual_total

__all__ = [
    "CANCELLING",
    "Abort",
    "Busy",
    "TooLate",
    "Usual",
    "active_on",
    "advance",
    "cancel",
    "define",
    "due",
    "later_than",
    "plan_of",
    "remember",
    "renew",
    "retry",
    "ring",
    "start",
    "step_names",
    "usual_times",
    "usual_total",
]
