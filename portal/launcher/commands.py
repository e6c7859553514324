"""The commands of `./slipway`, in few lines each."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from portal.launcher import credentials, starting
from portal.launcher import home as homes
from portal.launcher import status as states
from portal.launcher.errors import Stop
from portal.launcher.home import Home
from portal.launcher.processes import ROOT, portal_env


def up(*, detach: bool) -> int:
    """Start the portal; a second one does no harm."""
    return starting.up(detach=detach)


def supervise(*, in_front: bool) -> int:
    """What `up` ends in, or leaves running. Not for people: it needs the lock that `up` hands over."""
    return starting.supervise(in_front=in_front)


def down() -> int:
    """Stop all of it."""
    home = homes.find()
    if home is None or not starting.stop(home):
        print("Slipway is not running.")
        return 0
    print("Slipway is stopped.")
    return 0


def status(*, as_json: bool) -> int:
    """Print what runs."""
    rows = states.processes(homes.find())
    if as_json:
        print(json.dumps({"processes": rows}))
        return 0
    for row in rows:
        print(f"{row['name']:<10} {row['state']:<10} {row['pid'] or ''}")
    return 0


def logs(name: str | None, *, lines: int, follow: bool) -> int:
    """Print the ends of the logs; with `follow`, go on until Ctrl-C."""
    folder = existing_home().file("logs")
    files = sorted(folder.glob(f"{name or '*'}.log"))
    if not files:
        known = ", ".join(sorted(file.stem for file in folder.glob("*.log"))) or "none yet"
        raise Stop(f"there is no log {name or ''} in {folder}. There are: {known}.")
    words = ["tail", "-n", str(lines), *(["-F"] if follow else []), *(str(file) for file in files)]
    return subprocess.run(words).returncode


def token(options: argparse.Namespace) -> int:
    """Make an API token and print it, once."""
    words = [f"--{name}={getattr(options, name)}" for name in ("name", "user", "role", "workspace", "days")]
    return manage("token", *words).returncode


def rotate_secrets() -> int:
    """Encrypt every stored secret with a new key."""
    home = existing_home()
    if homes.is_running(home):
        raise Stop("the portal runs and would not know the new key. Run ./slipway down first.")
    return manage("rotate_secrets").returncode


def demo(*, keep: bool) -> int:
    """The whole story; starts a portal when none runs, and ends it again unless it shall be kept."""
    from portal.launcher.demo import story

    home = homes.find()
    began = home is None or not homes.is_running(home)
    if began:
        starting.up(detach=True)
    home = existing_home()
    try:
        return story.run(home, credentials.read(home), keep=keep)
    finally:
        if began and not keep:
            starting.stop(home)


def test(words: list[str]) -> int:
    """Run the tests."""
    from portal.launcher import testing

    return testing.run([word for word in words if word != "--"])


def check() -> int:
    """Run the checks."""
    from portal.launcher import checking

    return checking.run()


def bench(names: list[str], *, seed: int, operations: int) -> int:
    """Run the benchmarks against a portal of their own; `seed` and `operations` are for chaos."""
    command = [sys.executable, "-m", "benchmarks", *names, "--seed", str(seed), "--operations", str(operations)]
    return subprocess.run(command, cwd=ROOT).returncode


def existing_home() -> Home:
    """The home. Raises Stop when nothing was ever started."""
    home = homes.find()
    if home is None or "ports" not in home.facts:
        raise Stop(f"there is no portal in {homes.place()} yet. Run ./slipway up.")
    return home


def manage(*words: str) -> subprocess.CompletedProcess[bytes]:
    """Run manage.py with the settings of the home."""
    home = existing_home()
    env = portal_env(home, home.facts["ports"])
    return subprocess.run([sys.executable, "manage.py", *words], cwd=ROOT, env=env)
