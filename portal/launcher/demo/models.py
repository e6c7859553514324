"""The demo's two scikit-learn models, trained in an environment of their own (the portal never imports users' code)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal.launcher.errors import Stop
from portal.launcher.home import Home, write_private
from portal.launcher.processes import BIN

PACKAGES = ("scikit-learn==1.9.1",)
NAMES = ("linear", "forest")
SCORE = """\
import json
import os
import pickle


def init():
    global model
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.pkl"), "rb") as file:
        model = pickle.load(file)


def run(data):
    return {"probabilities": model.predict_proba(json.loads(data)["data"]).tolist()}
"""


@dataclass(frozen=True)
class Trained:
    """Two pickled models, rows to ask, and what each model answers to each row when it is loaded directly."""

    pickles: dict[str, bytes]
    rows: list[list[float]]
    expected: dict[str, list[list[float]]]

    def body(self, index: int) -> bytes:
        """The request for one row."""
        return json.dumps({"data": [self.rows[index % len(self.rows)]]}).encode()

    def is_right(self, name: str, index: int, answer: Any) -> bool:
        """Whether an answer is what the model says when it is loaded directly."""
        wanted = self.expected[name][index % len(self.rows)]
        try:
            got = answer["probabilities"][0]
            return len(got) == len(wanted) and all(abs(a - b) < 1e-9 for a, b in zip(got, wanted, strict=True))
        except (KeyError, IndexError, TypeError):
            return False


def train(home: Home) -> Trained:
    """Train once per home; the same pickles are used again. Raises Stop when the packages cannot be installed."""
    folder = home.file("demo")
    folder.mkdir(mode=0o700, exist_ok=True)
    done = folder / "done.json"
    wanted = json.dumps([list(PACKAGES), sys.version])
    if not done.exists() or done.read_text() != wanted:
        _run_in_own_environment(folder)
        write_private(done, wanted)
    told = json.loads((folder / "expected.json").read_text())
    pickles = {name: (folder / f"{name}.pkl").read_bytes() for name in NAMES}
    return Trained(pickles, told["rows"], {name: told[name] for name in NAMES})


def _run_in_own_environment(folder: Path) -> None:
    uv, python = BIN / "uv", folder / "venv" / "bin" / "python"
    steps = (
        (uv, "venv", "-q", "--clear", "--python", sys.executable, folder / "venv"),
        (uv, "pip", "install", "-q", "--link-mode", "copy", "--python", python, *PACKAGES),
        ("chmod", "-R", "go=", folder),
        (python, Path(__file__).with_name("train.py"), folder),
    )
    env = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    for step in steps:
        done = subprocess.run([str(word) for word in step], env=env, capture_output=True, text=True)
        if done.returncode:
            subprocess.run(["chmod", "-R", "go=", str(folder)])  # uv opens its lock file to all
            raise Stop(f"the demo's models could not be trained: {done.stderr.strip()[-600:]}")
