"""What a storage of files says when it fails, whichever it is."""

from __future__ import annotations

from portal.problems import Problem


class StorageAway(Problem):
    """It may work again by itself."""

    status, code, title = 503, "storage_unavailable", "The artifact storage does not answer"


class StorageRefused(Problem):
    """Somebody has to change a right or a setting."""

    status, code, title = 502, "storage_refused", "The artifact storage refused the portal"
