import io
import json
import subprocess
import tarfile
import time

import pytest
from azure.mgmt.containerregistrytasks import models
from cloud import GROUP

REGISTRY = "slipwaysandbox"


def context(requirements: str, first: str = "# slipway-environment 1") -> bytes:
    out = io.BytesIO()
    files = {"Dockerfile": first, "requirements.txt": requirements, "environment.json": json.dumps({"python": "3.11"})}
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


def build(cloud, archive: bytes, seconds: float = 90):
    tasks = cloud.tasks()
    place = tasks.registries.get_build_source_upload_url(GROUP, REGISTRY)
    assert cloud.session.put(place.upload_url, data=archive, timeout=10).status_code == 201
    wanted = models.DockerBuildRequest(
        image_names=["env/test:1"], docker_file_path="Dockerfile", source_location=place.relative_path,
        platform=models.PlatformProperties(os="Linux"),
    )  # fmt: skip
    run = tasks.registries.schedule_run(GROUP, REGISTRY, wanted).as_dict()["properties"]
    end = time.monotonic() + seconds
    while run["status"] in ("Queued", "Running") and time.monotonic() < end:
        time.sleep(0.3)
        run = tasks.runs.get(GROUP, REGISTRY, run["runId"]).as_dict()["properties"]
    link = tasks.runs.get_log_sas_url(GROUP, REGISTRY, run["runId"]).log_link
    assert cloud.session.get(link[:-3], timeout=10).status_code == 403
    return run, cloud.session.get(link, timeout=10).text


@pytest.mark.timeout(200)
def test_an_environment_with_scikit_learn_is_built_once_and_works(cloud):
    run, log = build(cloud, context("scikit-learn\n"), 180)
    assert run["status"] == "Succeeded", log
    assert "scikit-learn" in log
    python = next((cloud.folder / "state/images").glob("*/bin/azmlinfsrv")).with_name("python")
    compiled = "import os, sklearn, gunicorn; [os.stat(each.__cached__) for each in (sklearn, gunicorn)]"
    subprocess.run([python, "-B", "-c", compiled], check=True, timeout=60)  # a replica may write nothing there
    again, log = build(cloud, context("scikit-learn\n"))
    assert again["outputImages"][0]["digest"] == run["outputImages"][0]["digest"]
    assert "built already" in log


def test_a_requirement_that_does_not_exist_fails_with_its_name_in_the_log(cloud):
    run, log = build(cloud, context("slipway-no-such-package-exists==1.0\n"))
    assert run["status"] == "Failed"
    assert "slipway-no-such-package-exists" in log


def test_a_foreign_dockerfile_is_refused_in_the_log(cloud):
    run, log = build(cloud, context("", first="FROM scratch"))
    assert run["status"] == "Failed"
    assert "slipway-environment 1" in log
