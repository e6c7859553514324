"""Documents on disk: tables of JSON by key, written through at once."""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Db:
    """One SQLite file. What `put` returned from survives SIGKILL of the process."""

    def __init__(self, path: str | Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.close(fd)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._known: set[str] = set()
        self._depth = 0

    def put(self, table: str, key: str, doc: Json) -> None:
        """Store `doc` under `key`, instead of what was there."""
        text = json.dumps(doc, separators=(",", ":"))
        self._db.execute(f"INSERT OR REPLACE INTO {self._table(table)} VALUES (?, ?)", (key, text))  # noqa: S608

    def delete(self, table: str, key: str) -> None:
        """Remove the document, if it is there."""
        self._db.execute(f"DELETE FROM {self._table(table)} WHERE key = ?", (key,))  # noqa: S608

    def all(self, table: str) -> dict[str, Json]:
        """Every document of the table by its key, the one stored last at the end."""
        rows = self._db.execute(f"SELECT key, doc FROM {self._table(table)} ORDER BY rowid")  # noqa: S608
        return {key: json.loads(doc) for key, doc in rows}

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside count, or none. May be nested; no await inside."""
        if self._depth == 0:
            self._db.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            if self._depth == 0:
                self._db.execute("ROLLBACK")
            raise
        self._depth -= 1
        if self._depth == 0:
            self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file; nothing may be asked afterwards."""
        self._db.close()

    def _table(self, name: str) -> str:
        if name not in self._known:
            if not name.replace("_", "").isalnum():
                raise ValueError(f"{name!r} is no table name.")
            self._db.execute(f'CREATE TABLE IF NOT EXISTS "{name}" (key TEXT PRIMARY KEY, doc TEXT NOT NULL)')
            self._known.add(name)
        return f'"{name}"'
