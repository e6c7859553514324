"""Web, worker and beat are forked from a supervisor that has loaded the product, once for all four.

So a home starts in two thirds of the time, what dies is back at once, and what they load is in memory once. Broker and
sandbox are executed: neither needs the product, and the sandbox must not see what the portal knows.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping

from portal.launcher.processes import ROOT, Process

LOADED = (
    "portal.celery", "compute.tasks", "deployments.tasks", "endpoints.tasks", "portal.wsgi",
    "gunicorn.app.wsgiapp", "gunicorn.workers.gthread", "celery.bin.celery", "celery.apps.worker", "celery.apps.beat",
    "celery.concurrency.prefork", "kombu.transport.redis",
)  # fmt: skip
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_fork = multiprocessing.get_context("fork")


class Forked:
    """A forked process, with what the supervisor asks of a Popen."""

    def __init__(self, process: Process, output: int, hook: Callable[[], None]) -> None:
        self._process = _fork.Process(target=_become, args=(process, output, hook), name=process.name)
        self._process.start()
        self.pid: int = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """As `poll`."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code, minus the signal's number when it was killed; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises TimeoutExpired when it has not ended after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return self._process.exitcode

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()


def load(env: Mapping[str, str]) -> bool:
    """Load what is forked, under the environment that it will run with; False when that cannot be done.

    Then each process is executed, and says for itself what is wrong.
    """
    own = dict(os.environ)
    _set_environment(env)
    try:
        with warnings.catch_warnings(action="ignore"):  # for who writes the product; here they would reach a terminal
            for name in LOADED:
                importlib.import_module(name)
    except Exception:
        traceback.print_exc()
        return False
    finally:
        _set_environment(own)
    gc.collect()
    gc.freeze()  # what is loaded is never looked at again, so that its memory stays shared
    return threading.active_count() == 1  # a lock that another thread holds would be held for ever


def _set_environment(env: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(env)


def _become(process: Process, output: int, hook: Callable[[], None]) -> None:
    """In the child: all that executing it would have done, then its program."""
    hook()
    os.setsid()
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # with the home's lock among them
    os.chdir(ROOT)
    _set_environment(process.env)
    sys.argv = list(process.argv[2 if process.argv[1] == "-m" else 0 :])
    module, name = process.entry.split(":")
    getattr(importlib.import_module(module), name)()
