"""Builds an environment: a venv made and filled by uv, confined, with its output in a log."""

import asyncio
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from compute.sandbox.kubelet import confine
from compute.sandbox.kubelet.process import Process
from compute.sandbox.registry.closing import close_to_others
from compute.sandbox.registry.context import BASE, Wanted
from compute.sandbox.registry.images import alone
from compute.sandbox.settings import Settings

_PASSED = (
    "UV_",
    "SSL_CERT_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
_DONE = ".built"
# Replicas may not write there, so each start of one would compile all that it imports. Nobody imports the tests.
_COMPILE = (
    "import compileall, re, sys; compileall.compile_dir(sys.argv[1], quiet=2, rx=re.compile('/tests?/'), workers=0)"
)
Say = Callable[[bytes], None]


class BuildFailed(Exception):
    """A step of a build failed; the log has its output."""


class Builder:
    """Builds into images/KEY, where KEY is the hash of what is wanted; a finished folder is not built again."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._process: Process | None = None

    async def build(self, wanted: Wanted, say: Say) -> str:
        """Build, or find what is built: the digest. Raises BuildFailed."""
        with ExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, alone(self._folder, wanted.key))
            return await self._build(wanted, say)

    async def _build(self, wanted: Wanted, say: Say) -> str:
        target = self._folder / wanted.key
        done = target / _DONE
        if done.exists():
            say(b"This environment is built already; nothing to install.\n")
            return done.read_text()
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True, mode=0o700)
        try:
            digest = await self._fill(target, wanted, say)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        partial = target / (_DONE + ".part")
        partial.write_text(digest)
        partial.replace(done)
        return digest

    def kill(self) -> None:
        """End the step that runs."""
        if self._process is not None:
            self._process.kill()

    async def _fill(self, target: Path, wanted: Wanted, say: Say) -> str:
        work = self._settings.state / "builds" / wanted.key
        shutil.rmtree(work, ignore_errors=True)
        (work / "tmp").mkdir(parents=True, mode=0o700)
        uv, python = str(self._settings.uv), _interpreter(wanted.python, say)
        try:
            (work / "uv.toml").touch()  # ends uv's search for a project in the folders above, which it may not read
            (work / "base.txt").write_text("\n".join(BASE) + "\n")
            (work / "requirements.txt").write_text("\n".join(wanted.requirements) + "\n")
            venv = [uv, "venv", "--no-project", "--python", python, "--allow-existing", str(target)]
            await self._step(venv, python, target, work, say)
            inside = str(target / "bin/python")
            install = [uv, "pip", "install", "--python", inside, *self._settings.pip_args]
            await self._step([*install, "-r", "base.txt", "-r", "requirements.txt"], inside, target, work, say)
            await self._step([inside, "-c", _COMPILE, str(target / "lib")], inside, target, work, say)
            seen = bytearray()
            await self._step([uv, "pip", "freeze", "--python", inside], inside, target, work, seen.extend)
            say(b"Installed:\n" + bytes(seen))
            await asyncio.to_thread(close_to_others, target, self._settings.state / "uv-cache")
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return "sha256:" + hashlib.sha256(wanted.key.encode() + bytes(seen)).hexdigest()

    async def _step(self, argv: list[str], python: str, target: Path, work: Path, say: Say) -> None:
        cache = self._settings.state / "uv-cache"
        cache.mkdir(mode=0o700, exist_ok=True)
        passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED)}
        env = {
            **passed, "PATH": f"{target}/bin:/usr/local/bin:/usr/bin:/bin", "HOME": str(work),
            "TMPDIR": str(work / "tmp"),
            "UV_CACHE_DIR": str(cache), "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1",
            "LANG": "C.UTF-8", "UV_CONCURRENT_BUILDS": "1",
        }  # fmt: skip
        read = [*confine.python_roots(python), str(Path(argv[0]).resolve()), *_configuration()]
        read += [passed[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in passed]
        spec: confine.Spec = {"argv": argv, "env": env, "cwd": str(work), "read": read,
                              "write": [str(target), str(work), str(cache)]}  # fmt: skip
        self._process = Process.start(spec, say, None, str(work))
        code = await self._process.wait()
        self._process = None
        if code:
            raise BuildFailed(f"The step '{' '.join(Path(part).name for part in argv[:3])}' ended with code {code}.")


def _configuration() -> list[str]:
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return ["/etc/uv", str(Path(home) / "uv")]


def _interpreter(minor: str, say: Say) -> str:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = str(getattr(sys, "_base_executable", sys.executable))
    found = base if minor in ("", own) else shutil.which(f"python{minor}")
    if found is None:
        say(f"WARNING: this machine has no Python {minor}; Python {own} is used instead.\n".encode())
    used = os.path.realpath(found or base)
    say(f"Interpreter: {used}\n".encode())
    return used
