import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """One sandbox for a whole file: its tests take other names and clear their faults."""
    from cloud import Cloud

    made = Cloud(tmp_path_factory.mktemp("town")).start()
    yield made
    made.stop()


@pytest.fixture
def cloud(tmp_path):
    from cloud import Cloud

    made = Cloud(tmp_path).start()
    yield made
    if made.process.poll() is None:
        made.stop()
