"""What the journeys about safety need: a nosy model, and what the system says about processes and listeners."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal.launcher.supervisor import descendants

SCORE = """
import json
import os
import socket
import urllib.error
import urllib.request


def init():
    pass


def read(path):
    with open(path, "rb") as file:
        return "read " + file.read(200).decode(errors="replace")


def folder(path):
    return "listed " + " ".join(os.listdir(path)[:5])


def write(path):
    with open(path, "a") as file:
        return "wrote " + str(file.write("spy"))


def unix(path):
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(5)
    link.connect(path)
    link.sendall(b"KEYS *\\r\\n")
    return link.recv(200).decode(errors="replace")


def web(url):
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return "answered " + opener.open(url, timeout=5).read(200).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return str(error.code)


def run(data):
    answers = []
    for verb, what in json.loads(data):
        try:
            answers.append(globals()[verb](what))
        except Exception as error:
            answers.append(type(error).__name__)
    return answers
"""


@dataclass(frozen=True)
class Listener:
    """A TCP address that a process of ours listens on."""

    host: str
    port: int
    argv: str

    @property
    def is_replica(self) -> bool:
        """Model replicas answer everybody on this machine: known, and written down in docs/threat-model.md."""
        return self.port == 5001 and "azureml_inference_server_http" in self.argv


def tree(supervisor: int) -> set[int]:
    """The supervisor and every process below it."""
    return {supervisor} | descendants(supervisor, deep=True)


def argv(pid: int) -> str:
    """The command line of a process; "" when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _sockets(pid: int) -> set[str]:
    found = set()
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = str(link.readlink()) if link.is_symlink() else ""
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        return found
    return found


@dataclass(frozen=True)
class Row:
    """A line of the system's table of TCP sockets that listen."""

    host: str
    port: int
    inode: str


def table() -> list[Row]:
    """Every TCP address that anybody listens on, from the system's own tables."""
    found = []
    for name, size in (("tcp", 8), ("tcp6", 32)):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                address, port = words[1].split(":")
                host = ".".join(str(int(address[at : at + 2], 16)) for at in (6, 4, 2, 0)) if size == 8 else address
                found.append(Row(host, int(port, 16), words[9]))
    return found


def listeners(supervisor: int) -> list[Listener]:
    """Every TCP address that the process tree listens on."""
    owner = owners(tree(supervisor))
    found = {Listener(row.host, row.port, argv(owner[row.inode])) for row in table() if row.inode in owner}
    return sorted(found, key=lambda each: (each.host, each.port))


def owners(pids: set[int]) -> dict[str, int]:
    """Which of these processes holds which socket, by inode."""
    return {inode: pid for pid in pids for inode in _sockets(pid)}


def ask(at: Listener, method: str, path: str, body: str = "") -> tuple[int, dict[str, str], str]:
    """A request without any credential, over TLS where the listener speaks it; (0, …) when it hangs up."""
    link: Any = http.client.HTTPConnection(at.host, at.port, timeout=10)
    if _speaks_tls(at):
        context = ssl._create_unverified_context()  # noqa: S323  (who answers is not the question here)
        link = http.client.HTTPSConnection(at.host, at.port, timeout=10, context=context)
    try:
        link.request(method, path, body or None, {"Content-Type": "application/json"} if body else {})
        answer = link.getresponse()
        return answer.status, dict(answer.headers), answer.read(2000).decode(errors="replace")
    except (http.client.HTTPException, OSError) as error:
        return 0, {}, repr(error)
    finally:
        link.close()


def _speaks_tls(at: Listener) -> bool:
    context = ssl._create_unverified_context()  # noqa: S323
    try:
        with socket.create_connection((at.host, at.port), 5) as plain:
            plain.settimeout(5)
            context.wrap_socket(plain).close()
    except (OSError, ValueError):
        return False
    return True
