"""Files that installers made readable for everybody, whatever the umask says."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def close_to_others(*folders: Path) -> None:
    """Take every right of group and others from all files and folders; links are left alone."""
    for folder in folders:
        for place, names, files in os.walk(folder):
            for name in (*names, *files):
                path = os.path.join(place, name)
                mode = os.lstat(path).st_mode
                if not stat.S_ISLNK(mode) and mode & 0o077:
                    os.chmod(path, stat.S_IMODE(mode) & 0o700)
