"""Puts a portal process's clock on: gunicorn reads this as its configuration, worker and beat as Celery's loader.

How far is in the file `moved` of the home, in seconds; without the file nothing happens.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import time_machine
from celery.loaders.app import AppLoader

_file = Path(os.environ["SLIPWAY_HOME"], "moved")
if _file.exists():
    time_machine.travel(time.time() + float(_file.read_text()), tick=True).start()
    time.time()  # from the first reading on it ticks


class Loader(AppLoader):
    """Celery's own loader."""
