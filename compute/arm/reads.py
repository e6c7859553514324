"""What a preflight reads of a subscription: sizes with what bars them, a subnet, what the credential may do."""

from __future__ import annotations

from typing import Any

from compute.arm.errors import TRANSIENT, ArmNotFound, ArmRefused, body_words, passing, translated
from compute.arm.session import Session
from compute.types import Offer, Subnet, VmSize

NETWORK_VERSION = "2024-05-01"
RIGHTS_VERSION = "2022-04-01"
SUBSCRIPTION_VERSION = "2022-12-01"
PAGES = 20


class Reads:
    """Reads of one subscription; each is one request, or one a page."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def prepare(self) -> None:
        """Load the SDK and make its clients: once, before threads read side by side. Raises BadCredential."""
        for _ in (self._session.clusters, self._session.machines):
            continue

    @property
    def base_url(self) -> str:
        """Where this Azure is."""
        return self._session.base_url

    def token(self) -> None:
        """Get a token anew. Raises ArmDenied with Entra's own sentence, or Retryable."""
        self._session.token()

    def subscription(self) -> dict[str, Any]:
        """The subscription as Azure shows it. Raises ArmNotFound, ArmRefused."""
        place = f"/subscriptions/{self._session.access.subscription_id}"
        return self._document(f"{place}?api-version={SUBSCRIPTION_VERSION}")

    def offers(self, region: str) -> list[Offer]:
        """Every VM size that the region has, barred ones included."""
        query = f"location eq '{region}'"
        with translated():
            rows = [row.as_dict() for row in self._session.machines.resource_skus.list(filter=query)]
        return [_offer(row, region) for row in rows if row.get("resourceType") == "virtualMachines"]

    def subnet(self, subnet_id: str) -> Subnet | None:
        """The subnet with the region of its network ("" where that may not be read), or None. Raises ArmRefused."""
        place = subnet_id.rstrip("/")
        network = place.rsplit("/", 2)[0]
        try:
            document = self._document(f"{place}?api-version={NETWORK_VERSION}")
        except ArmNotFound:
            return None
        region = str(self._maybe(network).get("location") or "").lower().replace(" ", "")
        counted = [
            row for row in self._maybe(f"{network}/usages").get("value") or []
            if str(row.get("id") or "").lower() == place.lower()
        ]  # fmt: skip
        return _subnet(document, region, int(counted[0]["currentValue"]) if counted else None)

    def _maybe(self, path: str) -> dict[str, Any]:
        """What may be read, else nothing."""
        try:
            return self._document(f"{path}?api-version={NETWORK_VERSION}")
        except ArmRefused:
            return {}

    def rights(self, scope: str) -> list[dict[str, Any]]:
        """What the credential may do at a scope: rows of `actions` and `notActions`. Raises ArmNotFound, ArmRefused."""
        rows: list[dict[str, Any]] = []
        url = f"{scope.rstrip('/')}/providers/Microsoft.Authorization/permissions?api-version={RIGHTS_VERSION}"
        for _ in range(PAGES):
            document = self._document(url)
            rows += document.get("value") or []
            url = str(document.get("nextLink") or "")
            if not url:
                break
        return rows

    def _document(self, url: str) -> dict[str, Any]:
        response = self._session.get(url)
        try:
            body = response.json()
        except ValueError:
            body = {}
        if response.status_code in TRANSIENT:
            raise passing(response.status_code, f"Azure answered {response.status_code}.", response.headers)
        if response.status_code >= 300:
            code, message = body_words(body)
            kind = ArmNotFound if response.status_code == 404 else ArmRefused
            raise kind(
                message or f"Azure answered {response.status_code}.", azure_code=code,
                azure_status=response.status_code,
            )  # fmt: skip
        return body if isinstance(body, dict) else {}


def _offer(row: dict[str, Any], region: str) -> Offer:
    facts = {item["name"]: item["value"] for item in row.get("capabilities") or []}
    size = VmSize(
        str(row["name"]), int(facts.get("vCPUs", 0)), float(facts.get("MemoryGB", 0)), int(facts.get("GPUs", 0)),
        str(row.get("family", "")),
    )  # fmt: skip
    places = [info for info in row.get("locationInfo") or [] if _same(info.get("location"), region)]
    barred = row.get("restrictions") or []
    zones = {zone for item in barred if item.get("type") == "Zone" for zone in _zones(item)}
    return Offer(
        size,
        tuple(sorted({str(zone) for info in places for zone in info.get("zones") or []})),
        any(item.get("type") == "Location" for item in barred),
        tuple(sorted(zones)),
    )


def _zones(restriction: dict[str, Any]) -> list[str]:
    return [str(zone) for zone in (restriction.get("restrictionInfo") or {}).get("zones") or []]


def _same(left: Any, right: str) -> bool:
    return str(left or "").lower().replace(" ", "") == right.lower().replace(" ", "")


def _subnet(document: dict[str, Any], region: str, used: int | None) -> Subnet:
    properties = document.get("properties") or {}
    prefixes = properties.get("addressPrefixes") or [properties.get("addressPrefix")]
    delegations = [
        str((item.get("properties") or {}).get("serviceName") or item.get("name") or "")
        for item in properties.get("delegations") or []
    ]
    return Subnet(
        id=str(document.get("id") or ""),
        ranges=tuple(str(prefix) for prefix in prefixes if prefix and ":" not in str(prefix)),
        used=len(properties.get("ipConfigurations") or []) if used is None else used,
        delegations=tuple(delegations),
        region=region,
    )
