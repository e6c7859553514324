"""A workspace with a compute target, people in roles, and artifacts in a folder of the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from compute import queries as compute
from compute.models import ComputeTarget
from compute.types import ComputeState
from deployments import actions
from deployments.models import Deployment, Environment
from deployments.types import DeploymentSpec
from portal.models import Membership, Team, User, Workspace
from portal.types import Role
from tests.compute.azure import GROUP, SUB, TOKEN, Azure

SCORE = "def init():\n    pass\n\n\ndef run(data):\n    return data\n"


@pytest.fixture(autouse=True)
def artifact_folder(settings: Any, tmp_path: Path) -> Path:
    settings.ROOT_URLCONF = "tests.deployments.urls"
    settings.STATICFILES_DIRS = []
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    folders = {
        name: {
            "BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path / name)},
        }
        for name in ("artifacts", "collected")
    }  # fmt: skip
    settings.STORAGES = {**settings.STORAGES, **folders}
    return tmp_path / "artifacts"


@pytest.fixture
def home(db: None) -> Workspace:
    team = Team.objects.create(slug="vision", name="Vision")
    return Workspace.objects.create(
        team=team, slug="vision-dev", name="vision-dev", subscription_id="s", resource_group="g", region="westeurope",
        registry="slipwaysandbox",
    )  # fmt: skip


def member(home: Workspace, name: str, role: Role) -> User:
    user = User.objects.create(username=name)
    Membership.objects.create(team=home.team, user=user, role=role)
    return user


@pytest.fixture
def author(home: Workspace) -> User:
    return member(home, "author", Role.CONTRIBUTOR)


@pytest.fixture
def viewer(home: Workspace) -> User:
    return member(home, "viewer", Role.READER)


@pytest.fixture
def outsider(db: None) -> User:
    return User.objects.create(username="outsider")


def client_for(user: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client


@pytest.fixture
def us(author: User) -> APIClient:
    return client_for(author)


@pytest.fixture
def target(home: Workspace) -> ComputeTarget:
    return ComputeTarget.objects.create(
        workspace=home, name="aks", state=ComputeState.SUCCEEDED, subscription_id="s", resource_group="g",
        cluster_name="aks", region="westeurope", vm_size="Standard_D3_v2", vcpus=4, memory_gb=14, node_count=3,
    )  # fmt: skip


@pytest.fixture
def environment(home: Workspace, author: User) -> Environment:
    row = actions.environment_register(workspace=home, name="sk", actor=author, pip=["scikit-learn==1.7.2"])
    Environment.objects.filter(pk=row.pk).update(
        state="Succeeded", image="slipwaysandbox.azurecr.io/e@sha256:" + "0" * 64
    )
    row.refresh_from_db()
    return row


@pytest.fixture
def azure(settings: Any, home: Any, target: Any) -> Any:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    made = Azure()
    compute._open.clear()
    home.arm_endpoint, home.arm_credential = made.url, json.dumps({"kind": "static", "token": TOKEN})
    home.subscription_id, home.resource_group = SUB, GROUP
    home.save()
    target.subscription_id, target.resource_group, target.workspace = SUB, GROUP, home
    target.save()
    made.cluster("aks")
    return made


@pytest.fixture
def spec(home: Any, environment: Environment, author: Any) -> DeploymentSpec:
    code = actions.code_upload(workspace=home, files={"score.py": SCORE}, actor=author)
    return DeploymentSpec([], environment, "score.py", code, {"numReplicas": 2})


@pytest.fixture
def deployment(azure: Azure, home: Any, target: Any, spec: DeploymentSpec, author: Any) -> Deployment:
    return actions.deployment_create(workspace=home, target=target, name="iris", spec=spec, actor=author)
