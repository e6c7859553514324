"""Tokens of the workspace's Azure credential for clusters with Microsoft Entra sign-in."""

from __future__ import annotations

from compute.arm.errors import translated
from compute.arm.session import ArmAccess, credential_of

SCOPE = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"  # AKS's server application, the same in every tenant


def cluster_token(access: ArmAccess) -> str:
    """A token that such clusters take, fresh for some minutes at least: the credential keeps one and renews it early.

    Raises ArmDenied with Entra's words, BadCredential, or Retryable when Entra cannot be reached or is in trouble.
    """
    with translated():
        return str(credential_of(access.credential, access.ca_file).get_token(SCOPE).token)
