"""Every write of deployments: models, environments, code, and what runs. No cluster or registry is called here."""

from __future__ import annotations

from deployments.actions.collected import collected_forget, collected_read, report_take
from deployments.actions.deploy import deployment_create, deployment_revise, deployment_rollback
from deployments.actions.environments import environment_build, environment_register
from deployments.actions.models import InUse, code_upload, code_upload_files, model_delete, model_register, model_update
from deployments.actions.rules import registry_remove, registry_set, rules_set

__all__ = [
    "InUse", "code_upload", "code_upload_files", "collected_forget", "collected_read", "deployment_create",
    "deployment_revise", "deployment_rollback", "environment_build", "environment_register", "model_delete",
    "model_register", "model_update", "report_take",
    "registry_remove", "registry_set", "rules_set",
]  # fmt: skip
