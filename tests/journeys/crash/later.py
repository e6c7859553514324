"""Puts a portal process's clock on: gunicorn reads this as its configuration, worker and beat as Celery's loader.

How far is in the file `moved` of the home, in seconds; without the file nothing happens.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import time_machine
from celery.loaders.app import AppLoader


def move() -> None:
    """Put this process's clock on."""
    file = Path(os.environ["SLIPWAY_HOME"], "moved")
    if file.exists():
        time_machine.travel(time.time() + float(file.read_text()), tick=True).start()
        time.time()  # from the first reading on it ticks


class Loader(AppLoader):
    """Celery's own loader, in a process that is forked from one that has loaded it."""

    def on_worker_init(self) -> None:
        """At the start of a worker or beat."""
        move()


if __name__ == "__config__":  # gunicorn's name for it
    move()
