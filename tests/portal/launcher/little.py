"""A supervisor with two small processes, run as a script by test_supervisor.py: HOME."""

from __future__ import annotations

import sys
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


def main(folder: Path) -> None:
    """Run until told to stop."""
    (folder / "run").mkdir(exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    home = Home(folder, {"sockets": str(folder)})
    processes = [
        Process("first", (sys.executable, "-c", STAY), {}, lambda: True),
        Process("second", (sys.executable, "-c", PARENT, str(folder / "grandchild")), {}, lambda: True),
    ]
    Supervisor(home, processes).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
