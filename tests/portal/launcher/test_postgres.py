from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from portal.launcher import postgres


def test_a_server_of_our_own_runs_on_a_private_socket_and_is_gone_afterwards() -> None:
    with postgres.server() as url:
        if url is None:
            pytest.skip("no postgres is installed (apt-get install postgresql)")
        folder = Path(parse_qs(urlsplit(url).query)["host"][0])
        with psycopg.connect(host=str(folder), user="slipway", dbname="postgres") as link:
            assert link.execute("SHOW listen_addresses").fetchone() == ("",)
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
