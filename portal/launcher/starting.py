"""Start and stop of a home: everything around the supervisor."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO, NoReturn

from portal.launcher import ca, credentials, notice, ports, processes, status
from portal.launcher import home as homes
from portal.launcher.errors import Stop
from portal.launcher.home import Home
from portal.launcher.supervisor import Supervisor

READY_SECONDS = 120
STOP_SECONDS = 75
LOCK_FD = "SLIPWAY_LOCK_FD"


def up(*, detach: bool) -> int:
    """Start the portal of this home, or say where the running one is."""
    for note in homes.check_machine():
        print(f"Note: {note}")
    home = homes.make()
    lock = homes.take_lock(home)
    if lock is None:
        wait_until_ready(home, lambda: homes.is_running(home))
        print("Slipway runs already.")
        welcome(home)
        return 0
    with lock:
        _prepare_or_tidy(home)
        _write_pid(lock, os.getpid())
        return _detached(home, lock) if detach else _in_front(home, lock)


def supervise(*, in_front: bool = False) -> int:
    """The supervisor in a process of its own: the lock came with the file descriptor that the environment names."""
    number = os.environ.pop(LOCK_FD, "")
    home = homes.find()
    if not number.isdigit() or home is None:
        raise Stop("this command is for ./slipway up.")
    with os.fdopen(int(number), "r+") as lock:
        os.set_inheritable(lock.fileno(), False)
        _write_pid(lock, os.getpid())
        on_ready = (lambda: welcome(home)) if in_front else None
        Supervisor(home, processes.all_of(home, home.facts["ports"]), on_ready).run()
        _remove_sockets(home)
    if in_front:
        print("Slipway is stopped.")
    return 0


def _prepare_or_tidy(home: Home) -> None:
    try:
        prepare(home)
    except Stop:
        _remove_sockets(home)
        raise


def prepare(home: Home) -> None:
    """Ports, certificates, tables and first rows; ends what a killed supervisor left. Raises Stop."""
    end_leftovers(home)
    home.file("run", "state.json").unlink(missing_ok=True)
    found = ports.choose(home)
    ca.ensure(home)
    processes.all_of(home, found)  # says now what is wrong with the settings
    credentials.read(home)  # and with this file
    env = processes.portal_env(home, found)
    arm = processes.outside_arm()
    if arm:
        env.update(ARM_ENDPOINT=arm[0], ARM_TOKEN=arm[1])
    done = subprocess.run(
        [sys.executable, "manage.py", "prepare"], cwd=processes.ROOT, env=env, capture_output=True, text=True
    )
    if done.returncode:
        homes.write_private(home.file("logs", "prepare.log"), done.stderr)
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Stop(f"the database could not be prepared: {last} (more in {home.file('logs', 'prepare.log')})")


def _write_pid(lock: IO[str], pid: int) -> None:
    lock.seek(0)
    lock.truncate()
    lock.write(f"{pid}\n")
    lock.flush()


SUPERVISE = (sys.executable, "-m", "portal.launcher", "supervise")


def _for_supervisor(home: Home, lock: IO[str]) -> dict[str, str]:
    """Its environment, which what it forks has in /proc too: by that it is found when the supervisor was killed.

    The token of an outside ARM is in the database by now; that there is one is all that is asked.
    """
    given = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if "ARM_TOKEN" in given:
        given["ARM_TOKEN"] = "is stored"  # noqa: S105
    return {**given, "SLIPWAY_HOME": str(home.path), LOCK_FD: str(lock.fileno())}


def _in_front(home: Home, lock: IO[str]) -> NoReturn:
    print("Starting … (Ctrl-C stops everything)", flush=True)
    os.set_inheritable(lock.fileno(), True)
    os.chdir(processes.ROOT)
    os.execve(sys.executable, [*SUPERVISE, "--in-front"], _for_supervisor(home, lock))  # noqa: S606


def _detached(home: Home, lock: IO[str]) -> int:
    log = os.open(home.file("logs", "supervisor.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with open(log, "ab") as file:
        child = subprocess.Popen(
            SUPERVISE,
            cwd=processes.ROOT,
            env=_for_supervisor(home, lock),
            pass_fds=(lock.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        wait_until_ready(home, lambda: child.poll() is None)
    except Stop:
        child.terminate()
        child.wait(STOP_SECONDS)
        raise
    welcome(home)
    child.returncode = 0  # it goes on without us
    return 0


def wait_until_ready(home: Home, goes_on: Callable[[], bool]) -> None:
    """Return when every process is ready. Raises Stop when the supervisor ends or a process does not come up."""
    until = time.monotonic() + READY_SECONDS
    rows: list[dict[str, object]] = []
    while time.monotonic() < until:
        rows = list((home.read("run/state.json") or {}).get("processes", []))
        if rows and all(row["state"] == "running" for row in rows):
            return
        failing = [row for row in rows if row["state"] != "running" and int(str(row["restarts"])) >= 4]
        if failing or not goes_on():
            raise Stop(_why_not(home, failing or rows))
        time.sleep(0.1)
    raise Stop(_why_not(home, [row for row in rows if row["state"] != "running"]))


def _why_not(home: Home, rows: list[dict[str, object]]) -> str:
    name = str(rows[0]["name"]) if rows else "supervisor"
    log = home.file("logs", f"{name}.log")
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return f"{name} does not start: {lines[-1] if lines else 'it says nothing'} (more in {log})"


def welcome(home: Home) -> None:
    """Say where to go."""
    known = credentials.read(home)
    sandbox = f"{notice.at_start()}\n" if processes.has_sandbox(processes.outside_arm()) else ""
    print(
        f"Slipway is ready at {known['http_url']} (or {known['https_url']} with {known['ca_file']}).\n"
        f"Sign in as {known['username']}; the password is in {home.file(credentials.FILE)}.\n"
        f"{sandbox}Next: ./slipway demo, ./slipway status, ./slipway down.",
        flush=True,
    )


def stop(home: Home) -> bool:
    """Stop the portal of a home and what an earlier one left; whether there was anything."""
    was_running = homes.is_running(home)
    pid = status.supervisor_pid(home) if was_running else None
    if pid:
        _stop_supervisor(home, pid)
    left = end_leftovers(home)
    _remove_sockets(home)
    return was_running or left > 0


def _stop_supervisor(home: Home, pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    while homes.is_running(home) or status.is_alive(pid):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.05)


def _remove_sockets(home: Home) -> None:
    shutil.rmtree(home.sockets, ignore_errors=True)


def end_leftovers(home: Home) -> int:
    """End processes that a killed supervisor left; 10 s to end by themselves. How many there were."""
    left = first = status.leftovers(home)
    until = time.monotonic() + 10
    number = signal.SIGTERM
    while left:
        for pid in left:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        time.sleep(0.2)
        number = signal.SIGKILL if time.monotonic() > until else signal.SIGTERM
        left = status.leftovers(home)
    return len(first)
