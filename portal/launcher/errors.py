"""What the launcher says when it cannot go on."""

from __future__ import annotations


class Stop(Exception):
    """One sentence for the person at the terminal; the launcher ends with exit code 1."""
