"""create, update, patch, delete."""

import json
from typing import Any

from aiohttp import web

from compute.sandbox.kube import apply as server_side
from compute.sandbox.kube import prepare, typed
from compute.sandbox.kube.body import decode_new, definition, meet_unknown, of_kind, read_document, read_object
from compute.sandbox.kube.call import Call
from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.decode import DecodeError, decode
from compute.sandbox.kube.errors import ApiError, bad_request, not_found
from compute.sandbox.kube.managed import Manager
from compute.sandbox.kube.patching import StrategicMerge, go_map, json_patch, merge_patch
from compute.sandbox.kube.reading import answer, collection_test, current
from compute.sandbox.kube.store import Propagation

Json = dict[str, Any]
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = ("application/apply-patch+yaml", "application/apply-patch+cbor")


async def create(call: Call) -> web.StreamResponse:
    """POST to a collection."""
    obj = decode_new(call, await read_object(call, call.kind))
    prepare.place(call, obj)
    return answer(call, prepare.create(call, obj), 201)


async def update(call: Call) -> web.StreamResponse:
    """PUT of an object."""
    obj = decode_new(call, await read_object(call, call.kind))
    prepare.place(call, obj)
    return answer(call, prepare.update(call, current(call), obj))


async def patch(call: Call) -> web.StreamResponse:
    """PATCH of an object, in the four content types."""
    if call.request.content_type in APPLY:
        return await _apply(call)
    if call.query("force"):
        raise _bad_option("force: Forbidden: may not be specified for non-apply patch")
    document = await read_document(call)
    old = current(call)
    new = patched(call, old, document)
    prepare.place(call, new)
    return answer(call, prepare.update(call, old, new))


def patched(call: Call, old: Json, document: Any) -> Json:
    """`old` with the request's patch. 400, 415 or 422 as the real server has it."""
    name, kind = definition(call), call.request.content_type
    if kind not in (JSON_PATCH, MERGE_PATCH, STRATEGIC):
        known = ", ".join((JSON_PATCH, MERGE_PATCH, STRATEGIC, *APPLY))
        text = "the body of the request was in an unknown format - accepted media types include: "
        raise ApiError(415, "UnsupportedMediaType", text + known)
    if kind == JSON_PATCH:
        raw = json_patch(old, document)
    elif not isinstance(document, dict):
        raise bad_request("json: cannot unmarshal array into Go value of type map[string]interface {}")
    elif kind == MERGE_PATCH:
        raw = merge_patch(old, document)
    else:
        raw = StrategicMerge(call.schema).apply(name, old, document)
    shown = go_map(document) if kind == STRATEGIC else json.dumps(raw, separators=(",", ":"))
    return _decode_patched(call, of_kind(raw, call.kind), shown)


def _decode_patched(call: Call, raw: Json, shown: str) -> Json:
    try:
        read = decode(call.schema, definition(call), raw)
    except DecodeError as error:
        raise _bad_patch(shown, str(error)) from error
    strict = meet_unknown(call, read)
    if strict:
        raise _bad_patch(shown, strict)
    return read.obj


def _bad_patch(shown: str, why: str) -> ApiError:
    message = f"Invalid value: {json.dumps(shown)}: {why}"
    causes = [{"reason": "FieldValueInvalid", "message": message, "field": "patch"}]
    return ApiError(422, "Invalid", f' "" is invalid: patch: {message}', {"causes": causes})


def _bad_option(why: str) -> ApiError:
    field, _, message = why.partition(": ")
    kind, _, _ = message.partition(": ")
    reason = {"Forbidden": "FieldValueForbidden", "Required value": "FieldValueRequired"}[kind]
    causes = [{"reason": reason, "message": message, "field": field}]
    details = {"group": "meta.k8s.io", "kind": "PatchOptions", "causes": causes}
    return ApiError(422, "Invalid", f'PatchOptions.meta.k8s.io "" is invalid: {why}', details)


async def _apply(call: Call) -> web.StreamResponse:
    if not call.query("fieldManager"):
        raise _bad_option("fieldManager: Required value: is required for apply patch")
    config = await _config(call)
    old = call.store.get(call.cluster, call.kind.resource, call.namespace, call.name)
    if old is None and "create" not in call.kind.verbs:
        raise not_found(call.kind, call.name)
    if old is not None:
        prepare.check_version(call, old, config["metadata"].get("resourceVersion"))
    who = Manager(call.manager, "Apply", call.kind.api_version)
    fields = prepare.fields_of(call)
    if call.kind.has_status:
        config.pop("status", None)
    merged = server_side.apply(fields, old, config, who, force=call.flag("force"), moment=prepare.now(call))
    new = _convert(call, merged)
    if old is None:
        return answer(call, prepare.create(call, new, applied=True), 201)
    return answer(call, prepare.update(call, old, new, applied=True))


async def _config(call: Call) -> Json:
    """The applied configuration, checked against the schema: a fault is a 500, as in the real server."""
    config = await read_document(call)
    if not isinstance(config, dict) or not (config.get("kind") and config.get("apiVersion")):
        raise bad_request(f"invalid object type: {_gvk(config if isinstance(config, dict) else {})}")
    if (config.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    faults = typed.errors(call.schema, definition(call), of_kind(config, call.kind))
    if faults:
        meta = config.get("metadata") or {}
        where = f"{call.namespace or ''}/{meta.get('name', '')}; {_gvk(config)}"
        text = faults[0] if len(faults) == 1 else "\n  ".join(["errors:", *faults])
        raise ApiError(500, "InternalError", f"failed to create typed patch object ({where}): {text}")
    prepare.place(call, config)
    tidy: Json = _without_nulls(config)
    return tidy


def _gvk(config: Json) -> str:
    version = str(config.get("apiVersion", ""))
    return f"{version if '/' in version else '/' + version}, Kind={config.get('kind', '')}"


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _convert(call: Call, merged: Json) -> Json:
    try:
        return decode(call.schema, definition(call), merged).obj
    except DecodeError as error:
        text = "failed to convert new typed object to object: unable to convert unstructured object to "
        raise ApiError(500, "InternalError", f"{text}{_gvk(merged)}: {error}") from error


# --- delete


async def delete(call: Call) -> web.StreamResponse:
    """DELETE of one object."""
    options = await delete_options(call)
    old = current(call)
    if call.dry_run or options.get("dryRun"):
        return answer(call, old)
    last = remove(call, old, options)
    call.effective = True
    # A real server answers with the object while something still holds it, and with a Status when it is gone.
    if call.store.get(call.cluster, call.kind.resource, call.namespace, call.name) is not None:
        return answer(call, last)
    if call.kind.resource == "pods":
        return answer(call, last)
    details: Json = {"name": call.name, "kind": call.kind.resource, "uid": last["metadata"]["uid"]}
    if call.kind.group:
        details["group"] = call.kind.group
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return answer(call, status)


def remove(call: Call, obj: Json, options: Json) -> Json:
    """Delete by DeleteOptions."""
    meta = obj["metadata"]
    default: Propagation = "Orphan" if options.get("orphanDependents") else "Background"
    propagation: Propagation = options.get("propagationPolicy") or default
    return call.store.delete(
        call.cluster,
        call.kind.resource,
        meta.get("namespace"),
        meta["name"],
        grace_seconds=options.get("gracePeriodSeconds"),
        propagation=propagation,
        preconditions=options.get("preconditions"),
    )


async def delete_collection(call: Call) -> web.StreamResponse:
    """DELETE of what the selectors choose."""
    options = await delete_options(call)
    rows = call.store.list(call.cluster, call.kind.resource, call.namespace, collection_test(call))
    if not call.dry_run:
        for row in rows:
            remove(call, clone(row), options)
        call.effective = bool(rows)
    meta = {"resourceVersion": str(call.store.version)}
    return answer(
        call, {"kind": f"{call.kind.kind}List", "apiVersion": call.kind.api_version, "metadata": meta, "items": rows}
    )


async def delete_options(call: Call) -> Json:
    """DeleteOptions from body and query; 400 or 422 for what is not one."""
    document = await read_document(call) if await call.request.read() else {}
    if not isinstance(document, dict):
        raise bad_request("json: cannot unmarshal array into Go value of type v1.DeleteOptions")
    options = dict(document)
    for name in ("gracePeriodSeconds", "propagationPolicy"):
        if call.query(name):
            options[name] = call.number(name) if name.startswith("grace") else call.query(name)
    policy = options.get("propagationPolicy")
    if policy not in (None, "Background", "Foreground", "Orphan"):
        words = f'Unsupported value: "{policy}": supported values: "Background", "Foreground", "Orphan"'
        text = f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: {words}'
        raise ApiError(422, "Invalid", text, {"group": "meta.k8s.io", "kind": "DeleteOptions"})
    return options
