"""Makes `.venv` from the lock file.

Runs as a script under a bare Python, so it imports nothing but the standard library. It names no package index:
the user's own pip or uv configuration decides where packages come from.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {"run": "requirements.lock", "dev": "requirements-dev.lock"}


class Stop(Exception):
    """One sentence for the person at the terminal."""


def digest(path: Path) -> str:
    """SHA-256 of a file in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Environment:
    """The virtual environment of one checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.python = self.folder / "bin" / "python"
        self.stamp = self.folder / ".slipway.json"

    def wanted(self, need: str) -> dict[str, str]:
        """The hashes of the lock files that have to be installed for `need` (run or dev)."""
        names = ("run", "dev") if need == "dev" else ("run",)
        return {name: digest(self.root / LOCKS[name]) for name in names}

    def installed(self) -> dict[str, str]:
        """The hashes of the lock files that are installed; none when the environment is not ours or broken."""
        try:
            return dict(json.loads(self.stamp.read_text()))
        except (OSError, ValueError):
            return {}

    def is_ready(self, need: str) -> bool:
        """Whether nothing has to be done."""
        return self.wanted(need).items() <= self.installed().items() and self.python.exists()

    def make(self, need: str) -> None:
        """Install what `need` asks for. Raises Stop with one sentence when that cannot be done."""
        try:
            self.folder.mkdir(exist_ok=True)
            lock = (self.folder / ".slipway.lock").open("w")  # not `.lock`: uv waits for that one
        except OSError as error:
            raise Stop(f"cannot write to {self.folder}: {error.strerror}.") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.is_ready(need):
                return
            print("Installing what Slipway needs into .venv (once; a minute or two) …", flush=True)
            self.stamp.unlink(missing_ok=True)
            wanted = self.wanted(need)
            install(self, self.root / LOCKS[need])
            self.stamp.write_text(json.dumps(wanted))


def run(*command: str | Path, quiet: bool = False) -> bool:
    """Run a command; say what it said only if it failed and that is of use."""
    env = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run([str(part) for part in command], env=env, capture_output=True, text=True)
    if done.returncode and not quiet:
        sys.stderr.write(done.stderr[-2000:])
    return done.returncode == 0


def runs(python: Path) -> bool:
    """Whether an interpreter works at all (the one that a venv was made from may be gone)."""
    try:
        return run(python, "-c", "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))", quiet=True)
    except OSError:
        return False


def install(env: Environment, lock: Path) -> None:
    """Install a lock file by uv from PATH, else by a uv of our own, else by pip."""
    uv = shutil.which("uv")
    if uv and with_uv(env, uv, lock):
        return
    make_with_venv(env)
    own = env.folder / "bin" / "uv"
    if (own.exists() or pip_uv(env, lock)) and pip_like(env, own, lock):
        return
    print("… uv could not do it; trying pip.", flush=True)
    if not run(env.python, "-m", "pip", "install", "-q", "--require-hashes", "-r", lock):
        raise Stop("the packages of the lock file could not be installed; see the lines above.")


def with_uv(env: Environment, uv: str, lock: Path) -> bool:
    """The whole job by a uv that the user has."""
    if not runs(env.python) and not run(uv, "venv", "-q", "--allow-existing", "--python", sys.executable, env.folder):
        return False
    return pip_like(env, uv, lock)


def pip_like(env: Environment, uv: str | Path, lock: Path) -> bool:
    """`uv pip install`, which adds and changes packages and removes none."""
    return run(uv, "pip", "install", "-q", "--python", env.python, "--require-hashes", "-r", lock)


def make_with_venv(env: Environment) -> None:
    """A venv with pip by the standard library. Raises Stop when the system has no ensurepip."""
    if runs(env.python) and run(env.python, "-m", "pip", "--version", quiet=True):
        return
    if not run(sys.executable, "-c", "import ensurepip, venv", quiet=True):
        raise Stop("this Python cannot make environments. Run `sudo apt-get install python3-venv`, or install uv.")
    if not run(sys.executable, "-m", "venv", env.folder):
        raise Stop(f"{sys.executable} could not make the environment {env.folder}; see the lines above.")


def pip_uv(env: Environment, lock: Path) -> bool:
    """The uv that the lock file pins, installed by pip with its hashes."""
    found = re.search(r"^uv==(?:.*\\\n)+.*$", lock.read_text(), re.MULTILINE)
    if not found:
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(found.group(0) + "\n")
        file.flush()
        return run(env.python, "-m", "pip", "install", "-q", "--require-hashes", "-r", file.name)


def main(need: str) -> int:
    """Make the environment ready; 0 when it is."""
    env = Environment(ROOT)
    if env.is_ready(need):
        return 0
    try:
        env.make(need)
    except Stop as error:
        print(f"slipway: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
