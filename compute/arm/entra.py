"""Tokens of the workspace's Azure credential for clusters with Microsoft Entra sign-in."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from compute.arm.errors import ArmDenied
from compute.arm.session import ArmAccess, credential_of
from portal.problems import Retryable

SCOPE = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"  # AKS's server application, the same in every tenant


def cluster_token(access: ArmAccess) -> str:
    """A token that such clusters take, fresh for some minutes at least: the credential keeps one and renews it early.

    Raises ArmDenied with Entra's words, BadCredential, or Retryable when Entra cannot be reached.
    """
    from azure.core import exceptions as azure

    try:
        return str(_credential(access).get_token(SCOPE).token)
    except azure.ClientAuthenticationError as error:
        raise ArmDenied(f"No token for the cluster: {str(error.message)[:300]}") from None
    except azure.AzureError as error:
        raise Retryable(f"Microsoft Entra cannot be reached ({type(error).__name__}).") from None


@lru_cache(maxsize=64)
def _credential(access: ArmAccess) -> Any:
    return credential_of(access.credential, access.ca_file)
