"""Times of lists and pages with 1,000 endpoints, as the server says them (Server-Timing)."""

from __future__ import annotations

import http.cookiejar
import re
import subprocess
import sys
import urllib.parse
import urllib.request

from benchmarks.base import Portal, Result, percentile
from portal.launcher.processes import ROOT, portal_env

ENDPOINTS = 1000
ROUNDS = 40
LIMIT_MS = 100


def run(portal: Portal) -> list[Result]:
    """Fill a workspace with rows, then ask for lists over REST and for pages with a session."""
    portal.forget()
    portal.up()
    env = portal_env(portal.home, portal.home.facts["ports"])
    subprocess.run([sys.executable, "-m", "benchmarks.fill", str(ENDPOINTS)], cwd=ROOT, env=env, check=True)
    known = portal.credentials
    workspace = known["workspace"]
    token = {"Authorization": f"Bearer {known['api_token']}"}
    plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    session = sign_in(known)
    asked = [
        (plain, f"/api/v1/workspaces/{workspace}/endpoints/", token),
        (plain, f"/api/v1/workspaces/{workspace}/endpoints/bench-500/", token),
        (session, f"/w/{workspace}/", {}),
        (session, f"/w/{workspace}/endpoints/", {}),
        (session, f"/w/{workspace}/endpoints/bench-500/", {}),
        (session, f"/w/{workspace}/compute/", {}),
    ]
    found = [_time(opener, known["http_url"] + path, headers) for opener, path, headers in asked]
    portal.forget()
    return found


def _time(opener: urllib.request.OpenerDirector, url: str, headers: dict[str, str]) -> Result:
    path = urllib.parse.urlsplit(url).path
    times = []
    for _ in range(ROUNDS):
        with opener.open(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            answer.read()
            found = re.search(r"dur=([\d.]+)", answer.headers.get("Server-Timing", ""))
            times.append(float(found.group(1)) if found else float("inf"))
    p50, p95 = percentile(times, 50), percentile(times, 95)
    how = f"{ENDPOINTS} endpoints, {ROUNDS} requests, Server-Timing; limit {LIMIT_MS}"
    return Result(path, f"p50 {p50:.0f}, p95 {p95:.0f}", how, is_good=p95 <= LIMIT_MS)


def sign_in(known: dict[str, str]) -> urllib.request.OpenerDirector:
    """A browser's session by the sign-in form."""
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar))
    url = f"{known['http_url']}/sign-in/"
    with opener.open(url, timeout=30) as answer:
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', answer.read().decode())
    form = {
        "username": known["username"],
        "password": known["password"],
        "csrfmiddlewaretoken": found.group(1) if found else "",
    }
    with opener.open(
        urllib.request.Request(url, data=urllib.parse.urlencode(form).encode(), headers={"Referer": url}), timeout=30
    ):
        return opener
