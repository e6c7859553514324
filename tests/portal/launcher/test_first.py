"""First rows and management commands."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection

from portal import queries
from portal.launcher import credentials, first, ports
from portal.launcher.home import Home, write_private
from portal.models import Membership, User, Workspace
from portal.types import Role


@pytest.fixture
def prepared(home: Home, db: Any) -> Home:
    home.remember(ports={"http": 8000, "https": 8443, "arm": 20001, "kube": 20002})
    first.make()
    return home


def test_the_first_user_owns_the_first_workspace_and_the_token_is_an_owners(prepared: Home) -> None:
    known = credentials.read(prepared)
    user = queries.user_of_token(known["api_token"])
    assert user is not None
    workspace = queries.workspace(actor=user, slug=known["workspace"], needs=Role.OWNER)
    assert workspace.arm_endpoint == f"http://{ports.LOOPBACK}:20001"
    assert user.check_password(known["password"])


def test_first_rows_are_made_once(prepared: Home) -> None:
    before = prepared.file("credentials.json").read_text()
    first.make()
    assert prepared.file("credentials.json").read_text() == before
    assert (User.objects.count(), Workspace.objects.count(), Membership.objects.count()) == (1, 1, 1)


def test_lost_credentials_are_made_anew_for_the_same_user(prepared: Home) -> None:
    old = credentials.read(prepared)
    prepared.file("credentials.json").unlink()
    first.make()
    new = credentials.read(prepared)
    assert new["password"] != old["password"]
    assert User.objects.get().check_password(new["password"])


def test_another_arm_takes_the_place_of_the_sandboxs(prepared: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARM_ENDPOINT", "http://127.0.0.1:7777")
    monkeypatch.setenv("ARM_TOKEN", "another")
    first.make()
    row = Workspace.objects.get()
    assert row.arm_endpoint == "http://127.0.0.1:7777"
    assert "another" in row.arm_credential
    assert credentials.read(prepared)["arm_url"] == "http://127.0.0.1:7777"


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """An ARM that knows one subscription, and whoever has the token."""

    def do_GET(self) -> None:  # noqa: N802  (http.server looks for this name)
        known = self.path.startswith("/subscriptions?") and self.headers["Authorization"] == "Bearer another"
        body = json.dumps({"value": [{"subscriptionId": "of-the-other"}]} if known else {}).encode()
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer((ports.LOOPBACK, 0), Elsewhere)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://{ports.LOOPBACK}:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_subscription_is_one_that_the_other_arm_knows_and_the_sandboxs_again_without_it(
    prepared: Home, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = str(prepared.facts["subscription_id"])
    rounds = (
        (elsewhere, "refused", "", own), (elsewhere, "another", "", "of-the-other"),
        (elsewhere, "refused", "", "of-the-other"), (elsewhere, "another", "as-told", "as-told"),
        ("", "", "of-somebody", own),
    )  # fmt: skip
    for endpoint, token, given, expected in rounds:
        for name, value in (("ARM_ENDPOINT", endpoint), ("ARM_TOKEN", token), ("AZURE_SUBSCRIPTION_ID", given)):
            monkeypatch.setenv(name, value)
        first.make()
        assert credentials.read(prepared)["subscription_id"] == expected


def test_rotated_secrets_need_the_new_key_only(prepared: Home, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = prepared.file("secret_keys")
    write_private(keys, ",".join(settings.SECRET_KEYS))
    monkeypatch.setenv("SLIPWAY_SECRET_KEYS_FILE", str(keys))
    before = Workspace.objects.get().arm_credential
    out = StringIO()
    call_command("rotate_secrets", stdout=out)
    settings.SECRET_KEYS = [keys.read_text()]
    assert Workspace.objects.get().arm_credential == before
    assert "1 secrets" in out.getvalue()
    with connection.cursor() as cursor:
        cursor.execute("SELECT arm_credential FROM portal_workspace")
        stored = cursor.fetchone()[0]
    assert Fernet(keys.read_text()).decrypt(stored.encode()).decode() == before


def test_a_token_for_nobody_is_refused_by_name(db: Any) -> None:
    with pytest.raises(CommandError, match="no user nobody"):
        call_command("token", user="nobody")


def test_start_workspace_makes_an_installation_usable_once(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["start_workspace", "--subscription=s", "--resource-group=g", "--region=westeurope"]
    with pytest.raises(CommandError, match="at least 12 characters"):
        call_command(*words)
    monkeypatch.setenv("SLIPWAY_ADMIN_PASSWORD", "long enough for a test")
    for expected in ("is ready", "is there already"):
        out = StringIO()
        call_command(*words, stdout=out)
        assert expected in out.getvalue()
    assert User.objects.get().check_password("long enough for a test")
