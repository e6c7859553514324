"""Building images in a container registry: upload a context, queue a run, read its state and its log."""

from __future__ import annotations

from typing import Any

from compute.arm.errors import ArmNotFound, ArmRefused, translated
from compute.arm.session import CONNECT_SECONDS, READ_SECONDS, Session
from portal import outbound
from portal.problems import Retryable

LOG_BYTES = 262_144
BUILD_SECONDS = 1800


class Builds:
    """Builds of one registry; the registry is in the workspace's resource group."""

    def __init__(self, session: Session, group: str) -> None:
        self._session, self._group = session, group

    def start(self, registry: str, context: bytes, image: str) -> str:
        """Upload a context (tar.gz with a Dockerfile) and queue its build; the id of the run.

        `image` is repository:tag without the registry's host.
        """
        from azure.mgmt.containerregistrytasks import models

        with translated():
            place = self._session.builds.registries.get_build_source_upload_url(self._group, registry)
        self._transfer("PUT", str(place.upload_url), context, {"x-ms-blob-type": "BlockBlob"})
        request = models.DockerBuildRequest(
            image_names=[image], is_push_enabled=True, docker_file_path="Dockerfile", timeout=BUILD_SECONDS,
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

    def log(self, registry: str, run: str, offset: int) -> tuple[str, int]:
        """The log from byte `offset` on (at most 256 kB), and where to read next; empty while there is none."""
        try:
            with translated():
                link = self._session.builds.runs.get_log_sas_url(self._group, registry, run).log_link
        except ArmNotFound:
            return "", offset
        if not link:
            return "", offset
        status, content = self._transfer("GET", str(link), None, {"Range": f"bytes={offset}-{offset + LOG_BYTES - 1}"})
        if status == 200:  # no ranges there: this is the whole log
            content = content[offset : offset + LOG_BYTES]
        return content.decode("utf-8", "replace"), offset + len(content)

    def _transfer(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
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
            return answer.status_code, b""
        if answer.status_code >= 500 or answer.status_code == 429:
            raise Retryable(f"The registry's store answered {answer.status_code}.")
        if answer.status_code >= 300:
            raise ArmRefused(f"The registry's store {place.host} answered {answer.status_code}.")
        return answer.status_code, content


def _properties(run: Any) -> dict[str, Any]:
    document: dict[str, Any] = run.as_dict()
    return document.get("properties") or document
