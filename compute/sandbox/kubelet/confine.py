"""Runs one program with as little of this machine as it needs: `python -I -S confine.py FD`.

`confine.py status` says whether this machine can confine.

The description of the program (JSON, see `Spec`) comes on an inherited descriptor, because it may hold secrets and
`argv` is readable by every user of the machine. Standard library only: the wrapper replaces itself by the program.

Landlock cannot keep a program from connecting to Unix sockets or loopback ports of the same user, from changing the
mode of a file it cannot read, or from reading `/proc/PID/cmdline`: every such socket needs a password of its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from typing import Any, TypedDict

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CAP_NET_BIND_SERVICE, _LAST_CAP = 10, 63
# Landlock has the same numbers on every architecture.
_SYS_CREATE_RULESET, _SYS_ADD_RULE, _SYS_RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << n for n in range(6))
_MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 9, 1 << 10, 1 << 12
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE = (
    _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_SYM
    | _REFER | _TRUNCATE
)  # fmt: skip
_DEVICE = _READ_FILE | _WRITE_FILE | _IOCTL_DEV
# Semaphores of multiprocessing live here; without READ_DIR nobody can look for another program's names.
_SHARED_MEMORY = _READ_FILE | _WRITE_FILE | _MAKE_REG | _REMOVE_FILE | _TRUNCATE
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1, 2

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sys/devices/system",
           "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage")  # fmt: skip
# Distributions that keep each library in a folder of its own.
_STORES = ("/nix/store", "/gnu/store", "/home/linuxbrew/.linuxbrew")
# Not the whole of /etc: root's sandbox could read the password hashes there.
_ETC = ("alternatives", "ca-certificates", "fonts", "gai.conf", "group", "host.conf", "hosts", "ld.so.cache",
        "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "os-release", "passwd", "pki",
        "protocols", "resolv.conf", "services", "ssl", "timezone")  # fmt: skip
_DEVICES = ("null", "zero", "full", "random", "urandom")
_MAX_PROCESSES = 8192
_MAX_FILES = 65536


class Spec(TypedDict, total=False):
    """What to run: `argv`, `env`, `cwd`; `parent` is the pid that must still be alive; paths to read and to write.

    Without `confined` the paths bind nothing.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: str
    parent: int
    confined: bool
    read: list[str]
    write: list[str]


def landlock_abi() -> int:
    """The version of Landlock in this kernel, 0 when it has none."""
    found = _libc().syscall(_SYS_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return max(int(found), 0)


def is_wanted() -> bool:
    """Whether programs shall be confined where the kernel can: always, but for `SANDBOX_CONFINE=off`."""
    return os.environ.get("SANDBOX_CONFINE") != "off"


def status() -> str:
    """ "confined", or "not confined: " and why, for the banner and the pages."""
    if not is_wanted():
        return "not confined: SANDBOX_CONFINE is off"
    if landlock_abi():
        return "confined"
    return f"not confined: this kernel has no Landlock ({os.strerror(ctypes.get_errno())})"


def python_roots(executable: str) -> list[str]:
    """The folders an interpreter needs to run: its environment and the installation beneath."""
    environment = os.path.dirname(os.path.dirname(os.path.abspath(executable)))
    base = os.path.dirname(os.path.dirname(os.path.realpath(executable)))
    return [path for path in dict.fromkeys((environment, base)) if path not in ("/", "/usr")]


def command(fd: int) -> list[str]:
    """The argv that runs this wrapper with its `Spec` on descriptor `fd`."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), str(fd)]


def encode(spec: Spec) -> bytes:
    """The bytes that `command` expects on its descriptor, up to the end of file."""
    return json.dumps(spec).encode()


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _die_with_parent(parent: int) -> None:
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before the signal was asked for.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _drop_capabilities() -> None:
    # With some of them root reads /proc/PID/environ past Landlock. Without any (not root) this changes nothing.
    for capability in range(_LAST_CAP + 1):
        if capability != _CAP_NET_BIND_SERVICE:
            _libc().prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (value, value))


def _supported(abi: int) -> int:
    rights = (1 << 13) - 1
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        if abi >= since:
            rights |= right
    return rights


def _ruleset(abi: int) -> int:
    scoped = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if abi >= 6 else 0
    attributes = struct.pack("QQQ", _supported(abi), 0, scoped)[: 24 if abi >= 6 else 8]
    found = _libc().syscall(_SYS_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if found < 0:
        raise OSError(ctypes.get_errno(), "Landlock refused the rule set")
    return int(found)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # What does not exist needs no permission.
    try:
        if not os.path.isdir(path):
            rights &= _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, fd)
        if _libc().syscall(_SYS_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, ctypes.c_uint32(0)):
            raise OSError(ctypes.get_errno(), f"Landlock refused the rule for {path}")
    finally:
        os.close(fd)


def _confine(read: list[str], write: list[str]) -> None:
    abi = landlock_abi()
    if not abi:
        return
    ruleset, supported = _ruleset(abi), _supported(abi)
    wanted = [(path, _READ) for path in (*_SYSTEM, *_STORES, *(f"/etc/{name}" for name in _ETC), *read)]
    wanted += [(f"/dev/{name}", _DEVICE) for name in _DEVICES]
    wanted += [("/dev/shm", _SHARED_MEMORY)]  # noqa: S108 - a rule about the folder, no file is made
    wanted += [(path, _WRITE) for path in write]
    for path, rights in wanted:
        _allow(ruleset, path, rights & supported)
    if _libc().syscall(_SYS_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)):
        raise OSError(ctypes.get_errno(), "Landlock refused to restrict the process")
    os.close(ruleset)


def _session() -> None:
    try:
        os.setsid()
    except PermissionError:
        return  # The starter made one already.


def _read_spec(fd: int) -> Any:
    with os.fdopen(fd, "rb") as pipe:
        return json.loads(pipe.read())


def main(fd: int) -> None:
    """Become the program that `fd` describes; exit 126 with one sentence when that cannot be."""
    spec = _read_spec(fd)
    _die_with_parent(spec["parent"])
    _session()
    os.closerange(3, 1 << 20)
    os.umask(0o077)
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit(resource.RLIMIT_NPROC, _MAX_PROCESSES)
    _limit(resource.RLIMIT_NOFILE, _MAX_FILES)
    # Python ignores SIGPIPE and its children inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.chdir(spec["cwd"])
    _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _drop_capabilities()
    if spec.get("confined", True):
        _confine(spec.get("read", []), spec.get("write", []))
    os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - this is the wrapper's whole purpose


if __name__ == "__main__":
    if sys.argv[1:] == ["status"]:
        print(status())
        sys.exit()
    try:
        main(int(sys.argv[1]))
    except OSError as error:
        sys.stderr.write(f"cannot start the program: {error}\n")
        sys.exit(126)
