"""The certificate that a gateway shows its callers: set, made anew, renewed before it ends. Keys are never told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from compute import certificates, edge
from compute import queries as compute
from compute.models import ComputeTarget
from endpoints import issuing
from endpoints.models import Gateway
from portal import audit, operations
from portal.models import Operation, User
from portal.operations.start import busy
from portal.problems import Conflict
from portal.types import OperationKind

LATE = timedelta(days=1)  # after a renewal was due: somebody has to look


class NoCertificateNow(Conflict):
    code, title = "no_certificate_now", "The certificate cannot be changed now"


@transaction.atomic
def certificate_set(*, target: ComputeTarget, certificate: str, key: str, actor: User, cname: str = "") -> Operation:
    """Show an own chain from now on, under a new `cname` if one is given; scoring goes on meanwhile.

    Where TLS was never asked for, callers of http go on as before and the scoring URIs become https. Raises
    BadCertificate or BadOption (422), NoCertificateNow, ClusterStopped or Busy (409). When the gateway cannot be
    reached, the operation fails and the certificate comes into force with the next look that reaches it.
    """
    fresh = _locked(target)
    config = {**fresh.config, "tls": _own(fresh, edge.check_cname(cname))}
    told = certificates.check(certificate, key, edge.host(config, fresh.region), timezone.now())
    before = _shown(fresh)
    _store(fresh, config=config, tls_certificate=certificate, tls_key=key)
    return _begin(fresh, actor, "gateway.certificate_set", before, told)


@transaction.atomic
def certificate_make(*, target: ComputeTarget, actor: User | None) -> Operation:
    """Show a certificate that the portal makes, instead of an own one or of the one it made before.

    Raises IssuerTrouble (422), and what `certificate_set` raises for a cluster.
    """
    fresh = _locked(target)
    before, now = _shown(fresh), timezone.now()
    row = Gateway.objects.filter(compute_target=fresh).first()
    names = issuing.names_of(fresh, row.address if row else "")
    certificate, private = issuing.pair(names, now)
    if row is not None:
        Gateway.objects.filter(pk=row.pk).update(tls_certificate=certificate, tls_key=private, tls_names=names)
    tls = fresh.config.get("tls")
    config = {**fresh.config, "tls": {**tls, "mode": "generated"}} if tls else fresh.config
    _store(fresh, config=config, tls_certificate="", tls_key="")
    action = "gateway.certificate_made" if actor else "gateway.certificate_renewed"
    return _begin(fresh, actor, action, before, certificates.facts(certificate))


def certificates_watch() -> None:
    """Make anew what is due of the made certificates; tell once at 30, 14 and 3 days before one ends."""
    for row in Gateway.objects.select_related("compute_target__workspace__team"):
        told = certificates.facts(row.certificate)
        if not row.compute_target.tls_certificate and certificates.is_due(told, timezone.now()):
            _renew(row)
            row.refresh_from_db()
        certificate_watch(row)


def _renew(row: Gateway) -> None:
    try:
        certificate_make(target=row.compute_target, actor=None)
    except (Conflict, certificates.IssuerTrouble) as trouble:
        Gateway.objects.filter(pk=row.pk).update(tls_trouble=trouble.detail)
    else:
        Gateway.objects.filter(pk=row.pk).update(tls_trouble="")


@transaction.atomic
def certificate_watch(row: Gateway) -> None:
    """Note how long a gateway's certificate lasts, with one line of history at each level."""
    told, now = certificates.facts(row.certificate), timezone.now()
    is_made = not row.compute_target.tls_certificate
    level = None if is_made and not certificates.is_due(told, now, LATE) else certificates.level(told, now)
    mark = {"fingerprint": told.fingerprint, "level": level}
    before = Gateway.objects.select_for_update().get(pk=row.pk).tls_told
    words = sentence(row, told.days_left(now)) if level is not None else ""
    Gateway.objects.filter(pk=row.pk).update(tls_note=words, tls_told=mark, tls_ends_at=told.ends_at)
    if level is not None and mark != before:
        audit.record(action="gateway.certificate_ends", on=row.compute_target, actor=None, after=_facts(told))


def sentence(row: Gateway, days: int) -> str:
    """What is wrong with a certificate that has `days` left, and what helps."""
    told = certificates.facts(row.certificate)
    when = f"ends on {told.ends_at:%Y-%m-%d}, in {days} days" if days >= 0 else f"ended on {told.ends_at:%Y-%m-%d}"
    if row.compute_target.tls_certificate:
        return f"The certificate for {', '.join(told.names)} {when}. Give a new one."
    why = f": {row.tls_trouble}" if row.tls_trouble else "."
    return f"The made certificate {when}, and was not made anew{why}"


def _locked(target: ComputeTarget) -> ComputeTarget:
    fresh = ComputeTarget.objects.select_for_update(of=("self",)).select_related("workspace__team").get(pk=target.pk)
    if operations.active_on(fresh.ref):
        raise busy(fresh.ref, fresh.name)
    compute.refuse_if_stopped(fresh, "its certificate can be changed when it runs")
    if not compute.is_changeable(fresh):
        raise NoCertificateNow(f"{fresh.name} is {fresh.state}; its certificate can be changed when it is Succeeded.")
    return fresh


def _own(target: ComputeTarget, cname: str) -> dict[str, Any]:
    """The TLS settings with an own certificate; `http` keeps the plain door of a target that had no TLS."""
    tls = target.config.get("tls") or {"http": True}
    return {"leaf_domain": "", **tls, "mode": "own", "cname": cname or tls.get("cname", "")}


def _store(target: ComputeTarget, **fields: Any) -> None:
    ComputeTarget.objects.filter(pk=target.pk).update(generation=F("generation") + 1, **fields)


def _begin(target: ComputeTarget, actor: User | None, action: str, before: Any, told: certificates.Facts) -> Operation:
    op = operations.start(kind=OperationKind.GATEWAY_UPDATE, on=target, actor=actor, target_id=target.pk)
    audit.record(action=action, on=target, actor=actor, operation=op, before=before, after=_facts(told))
    return op


def _shown(target: ComputeTarget) -> dict[str, Any] | None:
    row = Gateway.objects.filter(compute_target=target).first()
    chain = target.tls_certificate or (row.tls_certificate if row else "")
    return _facts(certificates.facts(chain)) if chain else None


def _facts(told: certificates.Facts) -> dict[str, Any]:
    return {
        "subject": told.subject, "issuer": told.issuer, "names": list(told.names),
        "ends_at": told.ends_at.isoformat(), "fingerprint": told.fingerprint,
    }  # fmt: skip
