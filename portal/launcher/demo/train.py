"""Runs in an environment of its own: trains two models on the iris data, and says what each answers to every row."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    """Write linear.pkl, forest.pkl and expected.json."""
    from sklearn.datasets import load_iris  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-not-found, import-untyped, unused-ignore]

    rows, kinds = load_iris(return_X_y=True)
    wanted = {"linear": LogisticRegression(max_iter=500), "forest": RandomForestClassifier(20, random_state=7)}
    expected: dict[str, Any] = {"rows": rows.tolist()}
    for name, model in wanted.items():
        path = folder / f"{name}.pkl"
        path.write_bytes(pickle.dumps(model.fit(rows, kinds)))
        loaded = pickle.loads(path.read_bytes())  # noqa: S301  (written one line above)
        expected[name] = [loaded.predict_proba([row])[0].tolist() for row in rows.tolist()]
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
