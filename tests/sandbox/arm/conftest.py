import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def cloud(tmp_path):
    from cloud import Cloud

    made = Cloud(tmp_path).start()
    yield made
    if made.process.poll() is None:
        made.stop()
