"""The folder that holds all state of one portal on one machine, private to its user."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import stat
import sys
import tempfile
import uuid
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from portal.launcher.errors import Stop

SOCKET_PATH_LIMIT = 100  # a Unix socket path is 107 bytes at most; our longest file name is added to this folder


@dataclass(frozen=True)
class Home:
    """Paths and the facts that a home remembers (home.json)."""

    path: Path
    facts: dict[str, Any]

    def file(self, *parts: str) -> Path:
        """A path in the home."""
        return self.path.joinpath(*parts)

    @property
    def sockets(self) -> Path:
        """The short 0700 folder for Unix sockets, outside the home."""
        return Path(self.facts["sockets"])

    @property
    def broker_socket(self) -> Path:
        """Where the broker listens."""
        return self.sockets / "broker"

    @property
    def broker_password(self) -> str:
        """What the broker asks for: users' code cannot read it, but could connect to the socket."""
        return self.file("broker_password").read_text()

    @property
    def block(self) -> str:
        """The first three numbers of this home's loopback block, e.g. 127.77.3."""
        return str(self.facts["block"])

    def remember(self, **facts: Any) -> None:
        """Keep facts for the next start."""
        self.facts.update(facts)
        write_private(self.file("home.json"), json.dumps(self.facts, indent=1))

    def read(self, name: str) -> Any:
        """A JSON file of the home; None when there is none. Raises Stop when it is broken."""
        return read_json(self.file(name))


def read_json(path: Path) -> Any:
    """The object in a JSON file; None when there is none. Raises Stop when it is broken."""
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise ValueError("it holds no JSON object")
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Stop(f"{path} cannot be read ({error}). Mend or remove it, then try again.") from None


def write_private(path: Path, text: str) -> None:
    """Replace a file in one go; only its owner can read it."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    new.replace(path)


def place() -> Path:
    """The folder of the home that the environment names."""
    return Path(os.environ.get("SLIPWAY_HOME") or Path.cwd() / ".slipway").absolute()


def find() -> Home | None:
    """The home if there is one, without making anything."""
    facts = _facts(place())
    return Home(place(), facts) if facts else None


def _facts(path: Path) -> dict[str, Any]:
    """What the home remembers; empty when it is new. Raises Stop when something that it always has is not there."""
    facts: dict[str, Any] = read_json(path / "home.json") or {}
    missing = [name for name in ("block", "subscription_id", "sockets") if name not in facts]
    if facts and missing:
        raise Stop(f"{path / 'home.json'} lacks {', '.join(missing)}. Mend or remove it, then try again.")
    return facts


def make() -> Home:
    """The home, made or completed, with its secrets. Raises Stop when it cannot be made private."""
    path = place()
    _private_folder(path)
    for name in ("logs", "run", "tmp", "sandbox", "artifacts", "tls"):
        (path / name).mkdir(mode=0o700, exist_ok=True)
    home = Home(path, _facts(path))
    for name in ("secret_key", "arm_token", "sandbox_admin_token", "broker_password", "metrics_token"):
        _secret(path / name, secrets.token_urlsafe(48))
    _secret(path / "blob_key", b64encode(secrets.token_bytes(64)).decode())
    _secret(path / "secret_keys", urlsafe_b64encode(secrets.token_bytes(32)).decode())
    new = {} if home.facts else {"block": draw_block(), "subscription_id": str(uuid.uuid4())}
    home.remember(**new, sockets=str(socket_folder(path, home.facts.get("sockets"))))
    return home


def draw_block() -> str:
    """A random loopback block of our own: 127.a.b with a ≥ 64. Nobody promises that it is free."""
    return f"127.{64 + secrets.randbelow(190)}.{secrets.randbelow(256)}"


def _secret(path: Path, value: str) -> None:
    if not path.exists():
        write_private(path, value)


def _private_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_uid != os.getuid():
            raise Stop(f"{path} belongs to another user. Choose another folder with SLIPWAY_HOME.")
        path.chmod(0o700)
        probe = path / f".probe.{os.getpid()}"
        write_private(probe, "")
        mode = stat.S_IMODE(probe.stat().st_mode) | stat.S_IMODE(path.stat().st_mode)
        probe.unlink()
    except OSError as error:
        raise Stop(f"{path} cannot be used as SLIPWAY_HOME: {error.strerror}.") from None
    if mode & 0o077:
        raise Stop(f"{path} cannot be kept private (its file system has no modes). Choose another with SLIPWAY_HOME.")


def socket_folder(home: Path, known: str | None = None) -> Path:
    """A short private folder for sockets, named after the home. Raises Stop when somebody else holds the name."""
    name = f"slipway-{os.getuid()}-{hashlib.sha256(str(home).encode()).hexdigest()[:10]}"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    choices = [Path(known)] if known else []
    if runtime and os.path.isdir(runtime) and os.stat(runtime).st_uid == os.getuid():
        choices.append(Path(runtime) / name)
    choices += [Path(tempfile.gettempdir()) / name, Path("/tmp") / name]  # noqa: S108  (0700, owner checked below)
    for folder in choices:
        if len(str(folder).encode()) < SOCKET_PATH_LIMIT and _own_folder(folder):
            return folder
    raise Stop(f"no private folder for sockets: {choices[-1]} belongs to another user. Set XDG_RUNTIME_DIR.")


def _own_folder(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return False
        folder.chmod(0o700)
    except OSError:
        return False
    return True


def take_lock(home: Home) -> IO[str] | None:
    """The right to run this home's portal, held as long as the file is open; None when one runs already."""
    file = home.file("run", "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def is_running(home: Home) -> bool:
    """Whether a supervisor holds this home."""
    if not home.file("run", "lock").exists():
        return False
    file = take_lock(home)
    if file is None:
        return True
    file.close()
    return False


def check_machine() -> list[str]:
    """Raise the limits that we can, and say which are small. Raises Stop where Slipway cannot run."""
    import resource

    if sys.platform != "linux":
        raise Stop(f"the sandbox runs on Linux only; this is {sys.platform}. Use docker-compose.yml (docs/running.md).")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    notes = [f"Only {hard} open files are allowed; 4096 are enough for a few clusters."] if 0 <= hard < 4096 else []
    try:
        watches = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    except (OSError, ValueError):
        return notes
    return [*notes, f"Only {watches} inotify instances are allowed; each gateway takes one."] if watches < 64 else notes
