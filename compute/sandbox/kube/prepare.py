"""What every write passes on its way into the store: metadata, defaults, admission, validation, owners."""

import uuid
from typing import Any

from compute.sandbox.kube import admission, managed
from compute.sandbox.kube.body import definition
from compute.sandbox.kube.call import Call
from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.defaults import set_defaults
from compute.sandbox.kube.errors import bad_request, conflict
from compute.sandbox.kube.fieldset import Fields
from compute.sandbox.kube.managed import Manager
from compute.sandbox.kube.store import random_suffix
from compute.sandbox.kube.times import stamp
from compute.sandbox.kube.validation import validate_new, validate_update

Json = dict[str, Any]
SERVER_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")


def fields_of(call: Call) -> Fields:
    """The field walker of the call's kind."""
    return Fields(call.schema, definition(call))


def now(call: Call) -> str:
    """The time as objects record it."""
    return stamp(call.store.clock.now())


def place(call: Call, obj: Json) -> None:
    """Check the body's name and namespace against the path's, and fill in the latter. 400 when they differ."""
    meta = obj.setdefault("metadata", {})
    if call.namespace is not None:
        if meta.get("namespace", call.namespace) != call.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        meta["namespace"] = call.namespace
    elif call.kind.namespaced and not meta.get("namespace"):
        raise bad_request("an empty namespace may not be set during creation")
    if not call.kind.namespaced:
        meta.pop("namespace", None)
    if call.target.name and meta.get("name", call.name) != call.name:
        raise bad_request(f"the name of the object ({meta['name']}) does not match the name on the URL ({call.name})")
    if call.target.name:
        meta["name"] = call.name


def create(call: Call, obj: Json, *, applied: bool = False) -> Json:
    """Take a new object through every check and store it (unless it is a dry run)."""
    meta = obj["metadata"]
    if meta.pop("resourceVersion", ""):
        raise bad_request("resourceVersion should not be set on objects to be created")
    for name in (*SERVER_FIELDS, "generation"):
        meta.pop(name, None)
    if call.kind.has_status:
        obj.pop("status", None)
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = meta["generateName"][:58] + random_suffix()
    if not applied:
        meta.pop("managedFields", None)
    set_defaults(obj)
    admission.mutate(call, obj)
    validate_new(call, obj)
    admission.check_new(call, obj)
    admission.allocate(call, obj)
    if not applied:
        managed.track_update(fields_of(call), {"metadata": {}}, obj, updater(call), now(call))
    if call.dry_run:
        return _imagined(call, obj)
    stored = call.store.create(call.cluster, call.kind.resource, obj)
    call.effective = True
    admission.after_create(call, stored)
    return stored


def update(call: Call, old: Json, new: Json, *, applied: bool = False) -> Json:
    """Take a changed object through every check and store it (unless it is a dry run)."""
    _keep_server_fields(call, old, new)
    set_defaults(new)
    admission.keep_allocated(call, old, new)
    was = clone(old)
    set_defaults(was)  # controllers store their objects without defaults
    validate_update(call, was, new)
    admission.check_update(call, old, new)
    if not applied:
        managed.track_update(fields_of(call), old, new, updater(call), now(call))
    if _same(old, new):
        return old
    if call.dry_run:
        return new
    stored = call.store.update(call.cluster, call.kind.resource, new)
    call.effective = True
    return stored


def updater(call: Call, subresource: str = "") -> Manager:
    """The owner that a write other than apply counts for."""
    return Manager(call.manager, "Update", call.kind.api_version, subresource or call.target.subresource)


def check_version(call: Call, old: Json, asked: str | None) -> None:
    """409 when the body names another resourceVersion than the stored one."""
    if asked and asked != old["metadata"]["resourceVersion"]:
        raise conflict(call.kind, call.name)


def _keep_server_fields(call: Call, old: Json, new: Json) -> None:
    meta, was = new["metadata"], old["metadata"]
    check_version(call, old, meta.get("resourceVersion"))
    if meta.get("uid", was["uid"]) != was["uid"]:
        text = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {was['uid']}"
        raise conflict(call.kind, call.name, text)
    for name in (*SERVER_FIELDS, "generation", "resourceVersion"):
        meta.pop(name, None)
        if name in was:
            meta[name] = was[name]
    if call.kind.has_status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = clone(old["status"])


def _same(old: Json, new: Json) -> bool:
    """Whether only the times of owners differ; the real server does not write that."""

    def core(obj: Json) -> Json:
        meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
        return {**obj, "metadata": meta}

    if core(old) != core(new):
        return False
    before = {key: owned.fields for key, owned in managed.read(old).items()}
    return before == {key: owned.fields for key, owned in managed.read(new).items()}


def _imagined(call: Call, obj: Json) -> Json:
    """What a dry run of a create answers: as stored, without a version."""
    out = clone(obj)
    out["metadata"]["uid"] = str(uuid.uuid4())
    out["metadata"]["creationTimestamp"] = now(call)
    if call.kind.has_generation:
        out["metadata"]["generation"] = 1
    return out
