"""Building images in a container registry: upload a context, queue a run, read its state and its log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from compute.arm.errors import ArmNotFound, ArmRefused, translated
from compute.arm.session import CONNECT_SECONDS, READ_SECONDS, Session
from portal import outbound
from portal.problems import Retryable

LOG_BYTES = 262_144
BUILD_SECONDS = 1800
OVER = ("Succeeded", "Failed", "Canceled", "Error", "Timeout")
CLOCKS_SECONDS = 120  # Azure's clock and ours may differ that much
RUNS_LOOKED_AT = 100


class Builds:
    """Builds of one registry; the registry is in the workspace's resource group."""

    def __init__(self, session: Session, group: str) -> None:
        self._session, self._group = session, group

    def start(self, registry: str, context: bytes, image: str, logins: Mapping[str, tuple[str, str]]) -> str:
        """Upload a context (tar.gz with a Dockerfile) and queue its build; the id of the run.

        `image` is repository:tag without the registry's host; `logins` are name and password of registries that base
        images come from.
        """
        from azure.mgmt.containerregistrytasks import models

        with translated():
            place = self._session.builds.registries.get_build_source_upload_url(self._group, registry)
        self._transfer("PUT", str(place.upload_url), context, {"x-ms-blob-type": "BlockBlob"})
        request = models.DockerBuildRequest(
            image_names=[image], is_push_enabled=True, docker_file_path="Dockerfile", timeout=BUILD_SECONDS,
            credentials=_credentials(logins),
            source_location=place.relative_path, platform=models.PlatformProperties(os="Linux", architecture="amd64"),
        )  # fmt: skip
        with translated():
            run = self._session.builds.registries.schedule_run(self._group, registry, request)
        return str(_properties(run).get("runId") or run.name)

    def state(self, registry: str, run: str) -> tuple[str, str]:
        """Status of a run (Queued, Started, Running, Succeeded, Failed, Canceled, Error, Timeout) and its digest."""
        with translated():
            found = _properties(self._session.builds.runs.get(self._group, registry, run))
        image: dict[str, Any] = next(iter(found.get("outputImages") or []), {})
        return str(found.get("status") or "Queued"), str(image.get("digest") or "")

    def find(self, registry: str, image: str, since: float, known: set[str]) -> str | None:
        """The run that was queued after `since` (seconds since 1970) and builds `image`; "" when there is none.

        None while a run that is not `known` has not told yet what it builds: a registry tells it at the end only.
        """
        with translated():
            listed = self._session.builds.runs.list(self._group, registry, top=RUNS_LOOKED_AT)
            runs = [_properties(run) for run in islice(listed, RUNS_LOOKED_AT)]
        fresh = [run for run in runs if _created(run) > since - CLOCKS_SECONDS and run.get("runId") not in known]
        ours = [run for run in fresh if image in _built(run)]
        if ours:
            return str(ours[0]["runId"])
        return None if any(run.get("status") not in OVER for run in fresh) else ""

    def cancel(self, registry: str, run: str) -> None:
        """Ask for a run to stop; one that has ended stays as it is."""
        with translated():
            self._session.builds.runs.cancel(self._group, registry, run)

    def log(self, registry: str, run: str, offset: int) -> tuple[str, int, bool]:
        """The log from byte `offset` on (at most 256 kB), where to read next, and whether the registry says that it is
        all; empty while there is none.
        """
        try:
            with translated():
                link = self._session.builds.runs.get_log_sas_url(self._group, registry, run).log_link
        except ArmNotFound:
            return "", offset, False
        if not link:
            return "", offset, False
        start = max(0, offset - 1)  # a byte that is known comes along: past the end no headers would tell
        asked = {"Range": f"bytes={start}-{offset + LOG_BYTES - 1}"}
        status, content, headers = self._transfer("GET", str(link), None, asked)
        # Without ranges there, this is the whole log.
        content = content[offset : offset + LOG_BYTES] if status == 200 else content[offset - start :]
        is_all = "x-ms-meta-complete" in headers and len(content) < LOG_BYTES
        return content.decode("utf-8", "replace"), offset + len(content), is_all

    def _transfer(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """One request with a signed URL: no token goes along, and the address is checked like any other."""
        import requests

        from compute.arm.pinned import session

        place = outbound.place(url)
        try:
            with session(place) as opened:
                verify: Any = self._session.access.ca_file or True
                answer = opened.request(
                    method, url, data=body, headers=headers, verify=verify, allow_redirects=False,
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                )  # fmt: skip
                content = answer.content
        except requests.RequestException as error:
            raise Retryable(f"The registry's store {place.host} does not answer ({type(error).__name__}).") from None
        if answer.status_code in (404, 416):
            return answer.status_code, b"", answer.headers
        if answer.status_code >= 500 or answer.status_code == 429:
            raise Retryable(f"The registry's store answered {answer.status_code}.")
        if answer.status_code >= 300:
            raise ArmRefused(f"The registry's store {place.host} answered {answer.status_code}.")
        return answer.status_code, content, answer.headers


def _credentials(logins: Mapping[str, tuple[str, str]]) -> Any:
    """What lets the build read base images: from the registry that it pushes to, and with logins from others."""
    from azure.mgmt.containerregistrytasks import models

    others = {
        server: models.CustomRegistryCredentials(
            user_name=models.SecretObject(value=name, type="Opaque"),
            password=models.SecretObject(value=password, type="Opaque"),
        )
        for server, (name, password) in logins.items()
    }
    own = models.SourceRegistryCredentials(login_mode="Default")
    return models.Credentials(source_registry=own, custom_registries=others or None)


def _created(run: dict[str, Any]) -> float:
    told = str(run.get("createTime") or "").replace("Z", "+00:00")
    return datetime.fromisoformat(told).timestamp() if told else 0.0


def _built(run: dict[str, Any]) -> list[str]:
    return [f"{image.get('repository')}:{image.get('tag')}" for image in run.get("outputImages") or []]


def _properties(run: Any) -> dict[str, Any]:
    document: dict[str, Any] = run.as_dict()
    return document.get("properties") or document
