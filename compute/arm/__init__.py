"""The only place that imports the Azure SDK (lazily: it costs 0.5 s and 45 MB): our dataclasses in and out, our errors.

Seen from outside it is one module: `from compute.arm import Arm, ArmAccess`.
"""

from __future__ import annotations

from collections.abc import Mapping

from compute.arm.builds import Builds
from compute.arm.client import GONE, Clusters
from compute.arm.errors import ArmBusy, ArmDenied, ArmNotFound, ArmRefused
from compute.arm.pools import Pools
from compute.arm.reads import Reads
from compute.arm.session import ArmAccess, BadCredential, Session
from compute.arm.shape import OWNER_TAG, segments

__all__ = [
    "GONE", "OWNER_TAG", "Arm", "ArmAccess", "ArmBusy", "ArmDenied", "ArmNotFound", "ArmRefused", "BadCredential",
    "segments",
]  # fmt: skip


class Arm(Clusters):
    """One subscription at one Azure endpoint, and builds in the registries of one resource group."""

    def __init__(self, access: ArmAccess, *, registry_group: str = "") -> None:
        session = Session(access)
        super().__init__(session)
        self.pools = Pools(session)
        self.reads = Reads(session)
        self._builds = Builds(session, registry_group)

    def build_start(
        self, registry: str, context: bytes, image: str, logins: Mapping[str, tuple[str, str]] | None = None
    ) -> str:
        """Queue the build of `context` (tar.gz) as `image` (repository:tag); the id of the run."""
        return self._builds.start(registry, context, image, logins or {})

    def build_find(self, registry: str, image: str, since: float, known: set[str]) -> str | None:
        """The run queued after `since` that builds `image`; "" for none, None while one does not tell."""
        return self._builds.find(registry, image, since, known)

    def build_state(self, registry: str, run: str) -> tuple[str, str]:
        """Status of a run, and the image's digest once it is built."""
        return self._builds.state(registry, run)

    def build_cancel(self, registry: str, run: str) -> None:
        """Ask for a run to stop."""
        self._builds.cancel(registry, run)

    def build_log(self, registry: str, run: str, offset: int = 0) -> tuple[str, int, bool]:
        """The log of a run from byte `offset` on, the next offset, and whether that is all."""
        return self._builds.log(registry, run, offset)
