"""The clock of the pretend cloud: the machine's time plus an offset that tests can move forward."""

import asyncio
import time
from datetime import UTC, datetime

from compute.sandbox.db import Db

_TABLE, _KEY = "clock", "offset"


class Clock:
    """Time that can be advanced; the offset survives a restart."""

    def __init__(self, db: Db) -> None:
        self._db = db
        self._offset = float(db.all(_TABLE).get(_KEY, {}).get("seconds", 0))
        self._moved = asyncio.Event()

    def time(self) -> float:
        """Seconds since 1970."""
        return time.time() + self._offset

    def now(self) -> datetime:
        """The moment, in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`; ValueError for less than 0. Sleepers that are due wake."""
        if seconds < 0:
            raise ValueError("The clock only goes forward.")
        self._offset += seconds
        self._db.put(_TABLE, _KEY, {"seconds": self._offset})
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def sleep(self, seconds: float) -> None:
        """Wait until this clock shows `seconds` more than now."""
        until = self.time() + seconds
        while (left := until - self.time()) > 0:
            moved = self._moved
            try:
                await asyncio.wait_for(moved.wait(), left)
            except TimeoutError:
                continue
        await asyncio.sleep(0)
