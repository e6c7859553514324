"""A supervisor with small processes, run as a script: HOME by test_supervisor.py, HOME SETTINGS by test_warm.py."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from portal.launcher.home import Home
from portal.launcher.processes import Process
from portal.launcher.supervisor import Supervisor

STAY = "import time; time.sleep(600)"
PARENT = (  # a process that leaves a grandchild in a session of its own, as a badly behaved daemon does
    "import os, subprocess, sys, time; "
    f"child = subprocess.Popen([sys.executable, '-c', {STAY!r}], start_new_session=True); "
    "open(sys.argv[1], 'w').write(str(child.pid)); time.sleep(600)"
)


TOLD, MARK = "TOLD_OF_THE_TEST", "SLIPWAY_MARK_OF_THE_TEST"


def tell() -> None:
    """What a process knows of itself, as a file."""
    open_ones = [Path(f"/proc/self/fd/{number}") for number in range(1000)]
    files = {os.readlink(each) for each in open_ones if each.is_symlink()}
    told = {
        "parent": os.getppid(), "session": os.getsid(0), "pid": os.getpid(), "mark": os.environ[MARK], "argv": sys.argv,
        "is_loaded": "portal.wsgi" in sys.modules, "comm": Path("/proc/self/comm").read_text().strip(),
        "files": sorted(files),
    }  # fmt: skip
    print("said to the log", flush=True)
    Path(os.environ[TOLD]).with_suffix(".new").write_text(json.dumps(told))
    Path(os.environ[TOLD]).with_suffix(".new").rename(os.environ[TOLD])
    time.sleep(600)


def teller(folder: Path, settings: str) -> Process:
    """A process that tells, forked or executed."""
    own = {"DJANGO_SETTINGS_MODULE": settings, TOLD: str(folder / "told.json"), MARK: "process"}
    argv = (sys.executable, "-m", "teller", "--word")
    if settings.startswith("no."):
        argv = (sys.executable, "-c", "from tests.portal.launcher import little; little.tell()", "--word")
    return Process("teller", argv, {**os.environ, **own}, lambda: True, "tests.portal.launcher.little:tell")


def main(folder: Path, settings: str = "") -> None:
    """Run until told to stop."""
    (folder / "run").mkdir(exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    home = Home(folder, {"sockets": str(folder)})
    processes = (
        [teller(folder, settings)]
        if settings
        else [
            Process("first", (sys.executable, "-c", STAY), {}, lambda: True),
            Process("second", (sys.executable, "-c", PARENT, str(folder / "grandchild")), {}, lambda: True),
        ]
    )
    Supervisor(home, processes).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
