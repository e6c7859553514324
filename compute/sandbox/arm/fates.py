"""What is to become of an operation, by the faults that are set when it begins."""

from typing import Any

from compute.sandbox.faults import Faults

Json = dict[str, Any]
_MESSAGE = "Agents failed to start: the machines of the pool did not come up in time."


def draw(faults: Faults, match: Json) -> Json:
    """The faults that strike an operation: late, stuck, canceled, words, beside, leftovers."""
    words = faults.take("arm.statuses", **match)
    return {
        "late": faults.take("arm.late_failure", **match),
        "stuck": faults.take("arm.stuck", **match) is not None,
        "canceled": faults.take("arm.canceled", **match),
        "words": [str(word) for word in words.get("words", [])] if words else [],
        "beside": {when: found for when in ("running", "succeeded")
                   if (found := faults.take("arm.error_beside", when=when, **match)) is not None},
        "leftovers": match["kind"] == "delete" and faults.take("arm.leftovers", **match) is not None,
    }  # fmt: skip


def error_beside(operation: Json) -> Json | None:
    """The error that stands beside a status that is none: a client must judge by the status only."""
    when = "running" if not operation["status"] else operation["status"].lower()
    fault = operation.get("beside", {}).get(when)
    if fault is None:
        return None
    words = "The operation was superseded by a later one on the same resource."
    return {"code": str(fault.get("code", "NotLatestOperation")), "message": str(fault.get("message", words))}


def late_failure(fault: Json) -> Json:
    """The error of an operation that fails at its end; `inner` is {code, message} of what caused it."""
    code, message = str(fault.get("code", "CreateVMSSAgentPoolFailed")), str(fault.get("message", _MESSAGE))
    inner = fault.get("inner") or {}
    detail = {"code": str(inner.get("code", code)), "message": str(inner.get("message", message))}
    return {"code": code, "message": message, "details": [detail]}


def canceled(fault: Json | None = None) -> Json:
    """The error of an operation that somebody ended."""
    words = str((fault or {}).get("message", "The operation was canceled by a request."))
    return {"code": "OperationCanceled", "message": words}
