import asyncio
import json
import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    state: Path
    block: str
    ca_file: Path
    envoy: Path
    restart_backoff: float = 1


class Clock:
    def __init__(self, db):
        self.offset = 0.0
        self._woken = asyncio.Event()

    def time(self):
        return time.time() + self.offset

    def now(self):
        return datetime.fromtimestamp(self.time(), UTC)

    def advance(self, seconds):
        self.offset += seconds
        self._woken.set()
        self._woken = asyncio.Event()

    async def sleep(self, seconds):
        until = self.time() + seconds
        while (left := until - self.time()) > 0:
            try:
                await asyncio.wait_for(self._woken.wait(), left)
            except TimeoutError:
                return


class Faults:
    def __init__(self, db):
        self._rows = {}

    def set(self, name, spec):
        self._rows[name] = dict(spec)

    def clear(self, name):
        self._rows.pop(name, None)

    def take(self, name, **match):
        row = self._rows.get(name)
        if row is None or any(row.get(k, v) != v for k, v in match.items()):
            return None
        return row


class Db:
    def __init__(self, path):
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("create table if not exists docs (t text, k text, d text, primary key (t, k))")

    def put(self, table, key, doc):
        self._db.execute("insert or replace into docs values (?,?,?)", (table, key, json.dumps(doc)))

    def delete(self, table, key):
        self._db.execute("delete from docs where t=? and k=?", (table, key))

    def all(self, table):
        return {k: json.loads(d) for k, d in self._db.execute("select k, d from docs where t=?", (table,))}
