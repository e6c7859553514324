"""An image that cannot be pulled: what the registry answered, and what would help. Pure."""

from __future__ import annotations

import re

from deployments.diagnose.facts import Json, Scene, Trouble, is_of_container, name_of

WORDS = (
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable",
    "ImageInspectError", "SignatureValidationFailed",
)  # fmt: skip
UPDATE = "Then update with it again."
# (kind, what the runtime or registry says, the sentence's end, the fix, seconds to wait), the first that meets counts
CASES = (
    ("name", r"couldn't parse image|invalid reference format|InvalidImageName",
     "that is no name of an image",
     f"Write it as REGISTRY/REPOSITORY:TAG in small letters. {UPDATE}", 0),
    ("host", r"no such host|server misbehaving|name resolution",
     "the name of its registry {host} does not resolve",
     "Correct the registry's name, or the DNS of the nodes.", 30),
    ("certificate", r"x509|certificate",
     "the nodes do not trust the certificate of its registry {host}",
     "Give the nodes the CA of the registry, or use one with a public certificate.", 0),
    ("limit", r"toomanyrequests|429|rate limit",
     "its registry {host} answers that it was asked too often",
     "Wait, sign in to the registry, or copy the image to the workspace's own.", 60),
    ("away", r"i/o timeout|connection refused|deadline exceeded|TLS handshake timeout|no route to host|"
     r"network is unreachable|connection reset|unexpected EOF|\b50[0234]\b|RegistryUnavailable|temporarily",
     "its registry {host} does not answer",
     "See that the registry is up and that nodes may reach it (firewall, private endpoint).", 60),
    ("disk", r"no space left",
     "the node's disk is full",
     "Take nodes with bigger disks, or a smaller image.", 30),
    ("denied", r"\b401\b|\b403\b|unauthorized|authorization failed|failed to authorize|denied|insufficient_scope",
     "its registry {host} does not let the cluster read it, or has no such image",
     "Let the cluster pull from it: the role AcrPull for its kubelet identity (az aks update --attach-acr), or the "
     "registry's user and password in the workspace's settings.", 15),
    ("platform", r"no match for platform|exec format error",
     "it is not made for the nodes' processors",
     f"Build the image for linux/amd64. {UPDATE}", 0),
    ("missing", r"not found|manifest unknown|name unknown|\b404\b|does not exist|not present with pull policy",
     "its registry {host} does not have it",
     f"Check name and tag, and that it was pushed; an environment of ours: build it again. {UPDATE}", 0),
)  # fmt: skip
OTHER = ("other", "", "{said}", "See what the node says, and try the image elsewhere.", 30)


def of_container(pod: Json, container: Json, scene: Scene) -> Trouble | None:
    """Why the container's image is not there."""
    waiting = (container.get("state") or {}).get("waiting") or {}
    word = str(waiting.get("reason") or "")
    if word not in WORDS:
        return None
    image, said = str(container.get("image")), _said(pod, container, scene, waiting)
    found = next((case for case in CASES if re.search(case[1], f"{word} {said}")), OTHER)
    kind, _, end, fix, seconds = found
    text = f"The image {image} cannot be pulled: {end.format(host=host_of(image), said=said or word)}."
    if scene.of_pod(pod, "FailedToRetrieveImagePullSecret"):
        fix = f"{fix} A pull secret that the pod names is missing."
    return Trouble(f"image {kind}", word, text, fix, name_of(pod), said=said, patience=seconds)


def _said(pod: Json, container: Json, scene: Scene, waiting: Json) -> str:
    """The cause. Kubelets before 1.32 leave it out while they wait for the next try: then an event has it."""
    said = str(waiting.get("message") or "")
    if ": " in said.removeprefix("Back-off pulling image "):
        return said
    failed = [
        str(each.get("message"))
        for each in scene.of_pod(pod, "Failed", "InspectFailed", "ErrImageNeverPull")
        if is_of_container(each, str(container["name"])) and not str(each.get("message")).startswith("Error: ")
    ]
    return failed[-1] if failed else said


def host_of(image: str) -> str:
    """The registry of an image's name."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"
