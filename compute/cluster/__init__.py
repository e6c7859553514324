"""The only place that imports the Kubernetes client (lazily: it costs 45 MB): apply, observe, remove, logs.

Seen from outside it is one module: `from compute.cluster import Cluster, connect`.
"""

from __future__ import annotations

from collections.abc import Callable

from compute.cluster import given
from compute.cluster.client import Cluster
from compute.cluster.kubeconfig import BadKubeconfig, parse
from compute.cluster.transport import FieldConflict, Gone, Refused, Transport, Unauthorized
from compute.cluster.validate import InvalidObject, validate

__all__ = [
    "BadKubeconfig", "Cluster", "FieldConflict", "Gone", "InvalidObject", "Refused", "Unauthorized", "connect",
    "connect_kept",
    "validate",
]  # fmt: skip


def connect(
    kubeconfig: bytes, *, renew: Callable[[], bytes] | None = None, entra: Callable[[], str] | None = None
) -> Cluster:
    """A cluster by its kubeconfig, taken as data. Opens no connection yet.

    `renew` gives a fresh kubeconfig; it is asked once when the API server answers 401. `entra` gives a token where the
    kubeconfig wants Microsoft Entra sign-in; it is asked before each request, so it has to keep the token itself.
    Raises BadKubeconfig or AddressRefused; Retryable when the server's name cannot be resolved.
    """
    fresh = renew
    return Cluster(Transport(parse(kubeconfig), (lambda: parse(fresh())) if fresh else None, entra))


def connect_kept(text: str) -> Cluster:
    """A cluster by what was kept of a kubeconfig that a person gave (`given.keep`). Opens no connection yet.

    Raises AddressRefused, BadKubeconfig, or Retryable when the server's name cannot be resolved.
    """
    return Cluster(Transport(given.kept(text)))
