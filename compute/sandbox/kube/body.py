"""Reads the object out of a request's body."""

import json
from typing import Any

import yaml

from compute.sandbox.kube import protobuf
from compute.sandbox.kube.call import Call
from compute.sandbox.kube.decode import Decoded, DecodeError, decode
from compute.sandbox.kube.errors import ApiError, bad_request
from compute.sandbox.kube.kinds import Kind

Json = dict[str, Any]
VALIDATIONS = ("", "Ignore", "Warn", "Strict")


async def read_document(call: Call) -> Any:
    """The body as JSON, or as YAML where the content type says so. 400 for what does not parse, 415 for protobuf."""
    data = await call.request.read()
    kind = call.request.content_type
    if "protobuf" in kind:
        return _read_protobuf(data)
    try:
        return yaml.safe_load(data) if "yaml" in kind else json.loads(data)
    except (yaml.YAMLError, ValueError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error


def _read_protobuf(data: bytes) -> Json:
    try:
        return protobuf.read(data)
    except protobuf.Unreadable as error:
        text = "the body of the request was in an unknown format - accepted media types include: application/json"
        raise ApiError(415, "UnsupportedMediaType", f"{text}, application/yaml") from error


async def read_object(call: Call, kind: Kind) -> Json:
    """The object in the body, which must be of `kind` (or say nothing of it)."""
    doc = await read_document(call)
    if not isinstance(doc, dict):
        raise bad_request("couldn't get version/kind; json parse error: json: cannot unmarshal into Go value")
    return of_kind(doc, kind)


def of_kind(doc: Json, kind: Kind) -> Json:
    """The document with kind and version filled in. 400 when they are others."""
    named, version = doc.get("kind") or kind.kind, doc.get("apiVersion") or kind.api_version
    if (named, version) != (kind.kind, kind.api_version):
        short = str(version).rsplit("/", 1)[-1]
        group, _, _ = str(version).rpartition("/")
        if (named, group) == (kind.kind, kind.group):
            where = f'no kind "{named}" is registered for version "{version}" in scheme "pkg/api/legacyscheme"'
            raise bad_request(f'{kind.kind} in version "{short}" cannot be handled as a {kind.kind}: {where}')
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
            if version != kind.api_version
            else f"the object provided is unrecognized (must be of type {kind.kind}): it is of type {named}"
        )
    return {**doc, "kind": kind.kind, "apiVersion": kind.api_version}


def validation(call: Call) -> str:
    """How unknown fields are met: Ignore, Warn (the default) or Strict. 400 for another word."""
    asked = call.query("fieldValidation")
    if asked not in VALIDATIONS:
        words = 'supported values: "Ignore", "Strict", "Warn"'
        raise ApiError(422, "Invalid", f'fieldValidation: Unsupported value: "{asked}": {words}')
    return asked or "Warn"


def definition(call: Call, kind: Kind | None = None) -> str:
    """The schema's name of a kind."""
    kind = kind or call.kind
    return call.schema.name_of(kind.group, kind.version, kind.kind)


def decode_new(call: Call, doc: Json) -> Json:
    """Decode a POST or PUT body; unknown fields warn or are refused with 400."""
    prefix = f'{call.kind.kind} in version "{call.kind.version}" cannot be handled as a {call.kind.kind}: '
    try:
        read = decode(call.schema, definition(call), doc)
    except DecodeError as error:
        raise bad_request(prefix + str(error)) from error
    strict = meet_unknown(call, read)
    if strict:
        raise bad_request(prefix + strict)
    return read.obj


def meet_unknown(call: Call, read: Decoded) -> str:
    """Warn about unknown fields; in strict mode the text that refuses them."""
    mode = validation(call)
    texts = [f'unknown field "{path}"' for path in read.unknown]
    if mode == "Strict" and texts:
        return "strict decoding error: " + ", ".join(texts)
    if mode == "Warn":
        call.warnings.extend(texts)
    return ""
