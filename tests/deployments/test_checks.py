"""What is refused before anything runs."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest

from deployments import checks, environments
from deployments.checks import InvalidRequirements, InvalidScript

from .conftest import SCORE


def test_a_script_with_init_and_run_passes_however_it_binds_them() -> None:
    checks.entry_script("score.py", SCORE.encode())
    checks.entry_script("score.py", b"from mine import init\nrun = lambda data: data\n")
    checks.entry_script(
        "score.py", b"try:\n    from a import init\nexcept ImportError:\n    def init(): ...\ndef run(d): ..."
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"def init(): pass", "defines no run()"),
        (b"", "defines no init() and run()"),
        (b"def f():\n    def init(): ...\n    def run(d): ...", "defines no init() and run()"),
        (b"def init(:\n", "line 1"),
        (b"\x00", "does not parse"),
    ],
)
def test_a_script_without_init_or_run_or_that_does_not_parse_is_refused(source: bytes, words: str) -> None:
    with pytest.raises(InvalidScript, match="score.py") as caught:
        checks.entry_script("score.py", source)
    assert words in caught.value.detail


def test_requirements_are_cleaned_of_comments_and_hashes() -> None:
    lines = ["# why", "", "numpy>=2  # fast", "scikit-learn==1.7.2 --hash=sha256:aa", 'x; python_version<"3.12"']
    assert checks.requirements(lines) == ["numpy>=2", "scikit-learn==1.7.2", 'x; python_version<"3.12"']


@pytest.mark.parametrize("line", ["numpy=2", "-e .", "--index-url http://x", "../evil", "a b", "-r other.txt", 3])
def test_a_bad_requirement_is_named_with_its_line(line: Any) -> None:
    with pytest.raises(InvalidRequirements) as caught:
        checks.requirements(["numpy", line])
    assert "2" in caught.value.detail


@pytest.mark.parametrize(
    "text", ["a: [", "[]", "dependencies: []", "dependencies: [{pip: [numpy=2]}]", "dependencies: [{conda: 1}]"]
)
def test_a_bad_conda_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequirements):
        environments.spec(conda=text)


@pytest.mark.parametrize("given", [{}, {"pip": [], "image": "x"}, {"conda": "x", "requirements": "y"}])
def test_exactly_one_form_of_environment_is_given(given: dict[str, Any]) -> None:
    if not given:
        with pytest.raises(InvalidRequirements, match="you gave none"):
            environments.spec()
    else:
        with pytest.raises(InvalidRequirements, match=" and "):
            environments.spec(**given)


@pytest.mark.parametrize("name", ["UPPER", "a b", "a//b", "-x", "http://x/y"])
def test_a_bad_image_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequirements):
        environments.spec(image=name)


def test_an_unknown_python_is_refused() -> None:
    with pytest.raises(InvalidRequirements, match=r"2\.7"):
        environments.spec(pip=[], python="2.7")


def test_equal_content_has_an_equal_hash_in_any_order_and_other_content_another() -> None:
    first = environments.content_hash(environments.spec(pip=["a", "b"]))
    assert first == environments.content_hash(environments.spec(requirements="b\n# x\na\n"))
    assert first != environments.content_hash(environments.spec(pip=["a"]))
    assert first != environments.content_hash(environments.spec(pip=["a", "b"], python="3.12"))


@pytest.mark.parametrize(
    ("given", "file"), [({"pip": ["numpy"]}, "requirements.txt"), ({"conda": "dependencies: [numpy]"}, "conda.yaml")]
)
def test_the_build_context_is_the_same_bytes_and_starts_with_our_mark(given: dict[str, Any], file: str) -> None:
    spec = environments.spec(**given)
    context = environments.context(spec)
    assert context == environments.context(spec)
    with tarfile.open(fileobj=io.BytesIO(context)) as tar:
        assert sorted(tar.getnames()) == sorted(["Dockerfile", "environment.json", file])
        dockerfile = tar.extractfile("Dockerfile")
        assert dockerfile is not None
        assert dockerfile.readline() == b"# slipway-environment 1\n"
