"""The Pod Security Standards, as the admission plugin of real servers judges pods and says so."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from compute.sandbox.kube.errors import forbidden
from compute.sandbox.kube.kinds import KINDS
from compute.sandbox.kube.validation.causes import Causes

Json = dict[str, Any]
PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
VERSION = re.compile(r"latest|v1\.\d{1,5}")
MODES = ("enforce", "audit", "warn")
USUAL = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip
VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
           "secret")  # fmt: skip
PROFILES = ("RuntimeDefault", "Localhost")


def check_labels(causes: Causes, labels: Json) -> None:
    """The labels of a namespace."""
    for mode in MODES:
        level, version = labels.get(PREFIX + mode, "privileged"), labels.get(f"{PREFIX}{mode}-version", "latest")
        if level not in LEVELS:
            causes.invalid(f"metadata.labels[{PREFIX}{mode}]", level, f"must be one of {', '.join(LEVELS)}")
        if not VERSION.fullmatch(version):
            why = 'must be "latest" or "v1.x"'
            causes.invalid(f"metadata.labels[{PREFIX}{mode}-version]", version, why)


def check_pod(namespace: Json | None, pod: Json) -> None:
    """403 when the pod violates what its namespace enforces."""
    found = _violation(namespace, "enforce", pod["spec"])
    if found:
        raise forbidden(KINDS["pods"], pod["metadata"].get("name", ""), f"violates PodSecurity {found}")


def warning(namespace: Json | None, spec: Json) -> str:
    """What a namespace that warns says about a pod, or a template of pods; empty for nothing."""
    found = _violation(namespace, "warn", spec)
    return f"would violate PodSecurity {found}" if found else ""


def _violation(namespace: Json | None, mode: str, spec: Json) -> str:
    labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    level = labels.get(PREFIX + mode, "privileged")
    found = [text for rule in RULES.get(level, ()) if (text := rule(spec))]
    version = labels.get(f"{PREFIX}{mode}-version", "latest")
    return f'"{level}:{version}": {", ".join(found)}' if found else ""


# --- the rules: each gives its words, or nothing


def _containers(spec: Json) -> list[Json]:
    return [*spec.get("initContainers", []), *spec.get("containers", [])]


def _context(item: Json) -> Json:
    found: Json = item.get("securityContext") or {}
    return found


def _listed(word: str, names: Iterable[str]) -> str:
    quoted = [f'"{name}"' for name in names]
    return f"{word}{'s' if len(quoted) > 1 else ''} {', '.join(quoted)}"


def _those(spec: Json, test: Callable[[Json], bool]) -> list[str]:
    return [str(item["name"]) for item in _containers(spec) if test(item)]


def _host_namespaces(spec: Json) -> str:
    used = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return f"host namespaces ({', '.join(used)})" if used else ""


def _host_ports(spec: Json) -> str:
    names, ports = [], []
    for item in _containers(spec):
        used = [port["hostPort"] for port in item.get("ports", []) if port.get("hostPort")]
        names += [item["name"]] if used else []
        ports += used
    word = "hostPorts" if len(ports) > 1 else "hostPort"
    shown = ", ".join(str(port) for port in sorted(set(ports)))
    return f"hostPort ({_listed('container', names)} uses {word} {shown})" if ports else ""


def _privileged(spec: Json) -> str:
    names = _those(spec, lambda item: bool(_context(item).get("privileged")))
    return f"privileged ({_listed('container', names)} must not set securityContext.privileged=true)" if names else ""


def _added(spec: Json, allowed: tuple[str, ...]) -> str:
    names, added = [], set()
    for item in _containers(spec):
        more = [name for name in (_context(item).get("capabilities") or {}).get("add", []) if name not in allowed]
        names += [item["name"]] if more else []
        added |= set(more)
    shown = ", ".join(f'"{name}"' for name in sorted(added))
    return (
        f"{_listed('container', names)} must not include {shown} in securityContext.capabilities.add" if names else ""
    )


def _usual_capabilities(spec: Json) -> str:
    words = _added(spec, USUAL)
    return f"non-default capabilities ({words})" if words else ""


def _no_capabilities(spec: Json) -> str:
    def keeps(item: Json) -> bool:
        return "ALL" not in (_context(item).get("capabilities") or {}).get("drop", [])

    names = _those(spec, keeps)
    dropped = f'{_listed("container", names)} must set securityContext.capabilities.drop=["ALL"]' if names else ""
    words = "; ".join(filter(None, (dropped, _added(spec, ("NET_BIND_SERVICE",)))))
    return f"unrestricted capabilities ({words})" if words else ""


def _escalation(spec: Json) -> str:
    names = _those(spec, lambda item: _context(item).get("allowPrivilegeEscalation", True) is not False)
    words = f"{_listed('container', names)} must set securityContext.allowPrivilegeEscalation=false"
    return f"allowPrivilegeEscalation != false ({words})" if names else ""


def _host_paths(spec: Json) -> str:
    names = [row["name"] for row in spec.get("volumes", []) if "hostPath" in row]
    return f"hostPath volumes ({_listed('volume', names)})" if names else ""


def _volumes(spec: Json) -> str:
    bad = [(row["name"], key) for row in spec.get("volumes", []) for key in row if key not in ("name", *VOLUMES)]
    if not bad:
        return ""
    kinds = list(dict.fromkeys(kind for _, kind in bad))
    verb = "uses" if len(bad) == 1 else "use"
    words = f"{_listed('volume', [name for name, _ in bad])} {verb} {_listed('restricted volume type', kinds)}"
    return f"restricted volume types ({words})"


def _non_root(spec: Json) -> str:
    pod = _context(spec).get("runAsNonRoot")
    explicit = _those(spec, lambda item: _context(item).get("runAsNonRoot") is False)
    implicit = _those(spec, lambda item: "runAsNonRoot" not in _context(item)) if pod is not True else []
    words = ["pod must not set securityContext.runAsNonRoot=false"] if pod is False else []
    if explicit:
        words.append(f"{_listed('container', explicit)} must not set securityContext.runAsNonRoot=false")
    if implicit and not words:
        words.append(f"pod or {_listed('container', implicit)} must set securityContext.runAsNonRoot=true")
    return f"runAsNonRoot != true ({', '.join(words)})" if words else ""


def _user(spec: Json) -> str:
    words = ["pod"] if _context(spec).get("runAsUser") == 0 else []
    names = _those(spec, lambda item: _context(item).get("runAsUser") == 0)
    words += [_listed("container", names)] if names else []
    return f"runAsUser=0 ({' and '.join(words)} must not set runAsUser=0)" if words else ""


def _unconfined(spec: Json) -> str:
    words = _wrong_profile(spec)
    return f"seccompProfile ({words})" if words else ""


def _wrong_profile(spec: Json) -> str:
    def wrong(item: Json) -> bool:
        return _profile(item) not in ("", *PROFILES)

    names = _those(spec, wrong)
    who = " and ".join((["pod"] if wrong(spec) else []) + ([_listed("container", names)] if names else []))
    return f'{who} must not set securityContext.seccompProfile.type to "Unconfined"' if who else ""


def _profile(item: Json) -> str:
    return str((_context(item).get("seccompProfile") or {}).get("type", ""))


def _confined(spec: Json) -> str:
    words = _wrong_profile(spec)
    lacking = [] if _profile(spec) else _those(spec, lambda item: not _profile(item))
    if lacking and not words:
        wanted = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
        words = f"pod or {_listed('container', lacking)} {wanted}"
    return f"seccompProfile ({words})" if words else ""


BOTH = (_host_namespaces, _host_ports, _privileged)
RULES: dict[str, tuple[Callable[[Json], str], ...]] = {
    "baseline": (_usual_capabilities, _host_namespaces, _host_paths, _host_ports, _privileged, _unconfined),
    "restricted": (*BOTH, _escalation, _no_capabilities, _volumes, _non_root, _user, _confined),
}
