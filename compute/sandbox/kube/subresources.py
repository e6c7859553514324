"""What hangs below an object: scale, status, log, proxy, eviction, token; and the access review."""

import contextlib
from typing import Any

import aiohttp
from aiohttp import web

from compute.sandbox.controllers import disruption
from compute.sandbox.kube import managed, prepare, rbac
from compute.sandbox.kube.body import decode_new, read_document, read_object
from compute.sandbox.kube.call import Call
from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.errors import ApiError, bad_request
from compute.sandbox.kube.patching import json_patch, merge_patch
from compute.sandbox.kube.reading import answer, current
from compute.sandbox.kube.streaming import while_connected
from compute.sandbox.kube.times import stamp
from compute.sandbox.kube.validation import refuse
from compute.sandbox.kube.validation.causes import Causes
from compute.sandbox.kube.writing import JSON_PATCH, patched

Json = dict[str, Any]
PROXY_SECONDS = 5.0


async def scale(call: Call) -> web.StreamResponse:
    """GET, PUT and PATCH of a Deployment's `/scale`."""
    old = current(call)
    now = _scale_of(old)
    if call.request.method == "GET":
        return answer(call, now)
    document = await read_document(call)
    if call.request.method == "PUT":
        wanted = document
    elif call.request.content_type == JSON_PATCH:
        wanted = json_patch(now, document)
    else:
        wanted = merge_patch(now, document)
    meta = wanted.get("metadata") or {}
    if meta.get("name", call.name) != call.name:
        raise bad_request(f"the name of the object ({meta['name']}) does not match the name on the URL ({call.name})")
    prepare.check_version(call, old, meta.get("resourceVersion"))
    new = clone(old)
    new["spec"]["replicas"] = _replicas(call, wanted)
    return answer(call, _scale_of(prepare.update(call, old, new)))


def _replicas(call: Call, wanted: Json) -> int:
    count = (wanted.get("spec") or {}).get("replicas", 0)
    if isinstance(count, bool) or not isinstance(count, int):
        text = "json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32"
        raise bad_request(f'Scale in version "v1" cannot be handled as a Scale: {text}')
    causes = Causes()
    if count < 0:
        causes.invalid("spec.replicas", count, "must be greater than or equal to 0")
    refuse(causes, "Scale", "autoscaling", call.name)
    return count


def _scale_of(obj: Json) -> Json:
    meta = obj["metadata"]
    kept = {key: meta[key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}
    selector = obj["spec"]["selector"].get("matchLabels", {})
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": kept,
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": {
            "replicas": obj.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in sorted(selector.items())),
        },
    }


async def status(call: Call) -> web.StreamResponse:
    """GET, PUT and PATCH of `/status`: only the status is taken."""
    old = current(call)
    if call.request.method == "GET":
        return answer(call, old)
    if call.request.method == "PUT":
        given = decode_new(call, await read_object(call, call.kind))
    else:
        given = patched(call, old, await read_document(call))
    prepare.check_version(call, old, given["metadata"].get("resourceVersion"))
    new = {**clone(old), "status": given.get("status", {})}
    managed.track_update(prepare.fields_of(call), old, new, prepare.updater(call), prepare.now(call))
    if call.dry_run or new["status"] == old.get("status", {}):
        return answer(call, new)
    call.effective = True
    return answer(call, call.store.update_status(call.cluster, call.kind.resource, new))


# --- pods


async def log(call: Call) -> web.StreamResponse:
    """GET of a pod's log, followed if asked."""
    pod = current(call)
    lines = call.host.kubelet.read_log(
        call.cluster,
        call.namespace,
        call.name,
        _container(call, pod),
        previous=call.flag("previous"),
        tail_lines=call.number("tailLines"),
        follow=call.flag("follow"),
        timestamps=call.flag("timestamps"),
        since_seconds=call.number("sinceSeconds"),
        limit_bytes=call.number("limitBytes"),
    )
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    try:
        async for chunk in while_connected(call.request, lines):
            if not response.prepared:
                await response.prepare(call.request)
            await response.write(chunk)
        if not response.prepared:
            await response.prepare(call.request)
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
    except ConnectionError:
        return response
    return response


def _container(call: Call, pod: Json) -> str:
    spec = pod["spec"]
    names = [item["name"] for item in spec["containers"]]
    initial = [item["name"] for item in spec.get("initContainers", [])]
    asked = call.query("container")
    if asked and asked not in names + initial:
        raise bad_request(f"container {asked} is not valid for pod {call.name}")
    if asked:
        return asked
    if len(names) > 1 or initial:
        choices = f"choose one of: [{' '.join(names)}]"
        if initial:
            choices += f" or one of the init containers: [{' '.join(initial)}]"
        if len(names) > 1:
            raise bad_request(f"a container name must be specified for pod {call.name}, {choices}")
    return str(names[0])


async def proxy(call: Call) -> web.StreamResponse:
    """GET of `/proxy/PATH`: the pod's own answer. 503 when it cannot be reached."""
    pod = current(call)
    address, port = pod.get("status", {}).get("podIP"), call.target.port or _first_port(pod)
    if not address:
        raise ApiError(503, "ServiceUnavailable", "address not allowed")
    url = f"http://{address}:{port}/{call.target.rest}"
    timeout = aiohttp.ClientTimeout(total=PROXY_SECONDS)
    headers = {key: value for key, value in call.request.headers.items() if key.lower() not in HOP_HEADERS}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(url, params=call.request.query, headers=headers, allow_redirects=False) as reply,
        ):
            kind = reply.headers.get("Content-Type", "application/octet-stream")
            return web.Response(status=reply.status, body=await reply.read(), headers={"Content-Type": kind})
    except (aiohttp.ClientError, TimeoutError) as error:
        text = f"error trying to reach service: dial tcp {address}:{port}: {error or 'i/o timeout'}"
        raise ApiError(503, "ServiceUnavailable", text) from error


HOP_HEADERS = frozenset(
    {"authorization", "host", "connection", "content-length", "transfer-encoding", "upgrade", "accept-encoding"}
)


def _first_port(pod: Json) -> int:
    ports = [port["containerPort"] for item in pod["spec"]["containers"] for port in item.get("ports", [])]
    return int(ports[0]) if ports else 80


async def eviction(call: Call) -> web.StreamResponse:
    """POST of an Eviction: 429 while the pod's budget does not let it go."""
    document = await read_document(call)
    options = (document or {}).get("deleteOptions") or {}
    if not call.dry_run:
        grace = options.get("gracePeriodSeconds")
        disruption.evict(call.store, call.cluster, str(call.namespace), call.name, grace)
        call.effective = True
    return answer(call, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201)


# --- accounts and rights

SHORTEST_TOKEN, LONGEST_TOKEN = 600, 2**32


async def token(call: Call) -> web.StreamResponse:
    """POST of a TokenRequest."""
    current(call)
    document = await read_document(call) or {}
    spec = document.get("spec") or {}
    seconds = spec.get("expirationSeconds") or 3600
    causes = Causes()
    if seconds < SHORTEST_TOKEN:
        causes.invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds > LONGEST_TOKEN:
        causes.invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
    refuse(causes, "TokenRequest", "authentication.k8s.io", call.name)
    bound = spec.get("boundObjectRef") or {}
    text, ends = call.host.kube.issue_token(
        call.cluster,
        str(call.namespace),
        call.name,
        seconds=seconds,
        audiences=spec.get("audiences"),
        pod=bound.get("name") if bound.get("kind") == "Pod" else None,
    )
    call.effective = True
    body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"}
    meta = {"name": call.name, "namespace": call.namespace, "creationTimestamp": prepare.now(call)}
    answered = {"token": text, "expirationTimestamp": stamp(ends)}
    return answer(
        call, {**body, "metadata": meta, "spec": {**spec, "expirationSeconds": seconds}, "status": answered}, 201
    )


async def review(call: Call) -> web.StreamResponse:
    """POST of a SelfSubjectAccessReview."""
    obj = decode_new(call, await read_object(call, call.kind))
    spec = obj.get("spec", {})
    asked = spec.get("resourceAttributes")
    if asked is None and "nonResourceAttributes" not in spec:
        causes = Causes()
        causes.invalid(
            "spec.resourceAttributes",
            None,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )
        refuse(causes, "SelfSubjectAccessReview", "authorization.k8s.io", "")
    may = call.user.is_admin
    if asked is not None:
        resource = asked.get("resource", "") + (f"/{asked['subresource']}" if asked.get("subresource") else "")
        what = {"group": asked.get("group", ""), "resource": resource}
        what |= {"namespace": asked.get("namespace", ""), "name": asked.get("name", "")}
        may = rbac.allowed(call.store, call.cluster, call.user, asked.get("verb", ""), what)
    obj.setdefault("metadata", {})
    obj["status"] = {"allowed": may}
    return answer(call, obj, 201)
