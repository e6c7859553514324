"""What a container runtime says of an image that it cannot pull. Pure."""

from __future__ import annotations


def problem(image: str, why: str) -> str:
    """containerd's words: `why` is not_found, denied, or away (its registry does not answer)."""
    host, repository, tag = _parts(image)
    head = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": '
    if why == "denied":
        asked = f"https://{host}/oauth2/token?scope=repository%3A{repository.replace('/', '%2F')}%3Apull&service={host}"
        cause = f"unexpected status from GET request to {asked}: 401 Unauthorized"
        return f"rpc error: code = Unknown desc = {head}failed to authorize: failed to fetch anonymous token: {cause}"
    if why == "away":
        asked = f'Head "https://{host}/v2/{repository}/manifests/{tag}": dial tcp 192.0.2.1:443: i/o timeout'
        return f"rpc error: code = DeadlineExceeded desc = {head}failed to do request: {asked}"
    return f"rpc error: code = NotFound desc = {head}{image}: not found"


def _parts(image: str) -> tuple[str, str, str]:
    """Registry, repository and tag or digest."""
    path, at, digest = image.partition("@")
    first, slash, rest = path.partition("/")
    host, path = (first, rest) if slash and ("." in first or ":" in first) else ("registry-1.docker.io", path)
    repository, _, tag = path.partition(":")
    return host, repository, digest if at else tag or "latest"
