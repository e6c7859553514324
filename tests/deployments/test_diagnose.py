"""From pods' states to one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from deployments import diagnose
from deployments.types import DeploymentState

DEAD = {"terminated": {"exitCode": 3, "reason": "Error"}}


def pod(status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "iris-1", **meta}, "status": status}


def crashed(code: int, reason: str = "Error", *, restarts: int = 1, group: str = "containerStatuses") -> dict[str, Any]:
    last = {"terminated": {"exitCode": code, "reason": reason}}
    back_off = {"waiting": {"reason": "CrashLoopBackOff"}}
    return pod({group: [{"name": "c", "image": "i", "restartCount": restarts, "state": back_off, "lastState": last}]})


def waiting(reason: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": "why"}}
    return pod({"containerStatuses": [{"name": "c", "image": "img", "restartCount": 0, "state": state}]})


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: cpu."}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (crashed(3, restarts=2), "init() failed; it ended 3 times"),
        (crashed(1, restarts=2), "exit code 1"),
        (crashed(137, "OOMKilled", restarts=2), "OOMKilled"),
        (crashed(1, restarts=2, group="initContainerStatuses"), "could not fetch its code and models"),
        (waiting("ImagePullBackOff"), "image img cannot be pulled"),
        (waiting("CreateContainerConfigError"), "cannot be made"),
        (pod({"conditions": [UNSCHEDULABLE]}), "0/3 nodes: cpu."),
    ],
)
def test_trouble_is_one_sentence(found: dict[str, Any], words: str) -> None:
    trouble = diagnose.trouble([found])
    assert trouble is not None
    assert words in trouble.text


def test_what_does_not_fit_is_unschedulable() -> None:
    trouble = diagnose.trouble([pod({"conditions": [UNSCHEDULABLE]})])
    assert trouble is not None
    assert trouble.state == DeploymentState.UNSCHEDULABLE


@pytest.mark.parametrize(
    "found",
    [
        waiting("ContainerCreating"),
        waiting("PodInitializing"),
        pod({"containerStatuses": [{"name": "c", "restartCount": 0, "state": DEAD}]}),
        pod({"phase": "Failed", "containerStatuses": [{"name": "c", "restartCount": 5, "state": DEAD}]}),
        pod({"conditions": [UNSCHEDULABLE]}, deletionTimestamp="now"),
        pod({"conditions": [{"type": "Ready", "status": "True"}]}),
        pod({}),
    ],
)
def test_what_may_become_well_is_no_trouble(found: dict[str, Any]) -> None:
    assert diagnose.trouble([found]) is None


def test_the_cause_is_the_last_line_of_the_last_traceback() -> None:
    log = 'Traceback (most recent call last):\n  File "a"\nOSError: first\nx\n'
    log += 'Traceback (most recent call last):\n  File "b", line 1\n    boom\nValueError: no model\nWorker exiting\n'
    assert diagnose.last_cause(log) == "ValueError: no model"
    assert diagnose.last_cause("quiet") == ""


def test_the_inference_servers_own_exception_does_not_hide_the_scripts() -> None:
    log = """2026-11-25 12:53:36,807 E [1] azmlinfsrv - Encountered Exception Traceback (most recent call last):
  File "user_script.py", line 119, in invoke_init
    self._user_init()
ValueError: no such model: 42

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "aml_blueprint.py", line 109, in setup
azureml_inference_server_http.server.user_script.UserScriptException: Caught an unhandled exception

2026-11-25 12:53:36,807 I [1] gunicorn.error - Worker exiting (pid: 1)
"""
    assert diagnose.last_cause(log) == "ValueError: no such model: 42"


def test_what_does_not_fit_says_what_it_asks_for() -> None:
    asks = {"resources": {"requests": {"cpu": "3900m", "memory": "1536Mi", "nvidia.com/gpu": "1"}}}
    found = pod({"conditions": [{**UNSCHEDULABLE, "message": "0/3 nodes: cpu. preemption: 0/3 nodes: none."}]})
    trouble = diagnose.trouble([{**found, "spec": {"containers": [asks]}}])
    assert trouble is not None
    asked = "asks for 3.9 CPU, 1.5 GiB of memory, 1 GPU"
    assert trouble.text == f"The replica iris-1 {asked} and fits on no node: 0/3 nodes: cpu."


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (
            "error: No solution found\n  cause: Because a==9 is not there, no.\nstep failed with code 1\n",
            "Because a==9 is not there, no.",
        ),
        (
            "ERROR: No matching distribution found for a==9\nError: failed during run, err: exit status 1\n",
            "ERROR: No matching distribution found for a==9",
        ),
        ("fetching\nerror: no such host\nbye\n", "error: no such host"),
        ("one\ntwo\n\n", "two"),
        ("", "there is no log"),
    ],
)
def test_a_builds_cause_is_the_line_that_names_the_package(log: str, cause: str) -> None:
    assert diagnose.build_cause(log) == cause
