"""The product's settings, with what tests need in the environment before they are read."""

import os
import tempfile

os.environ.setdefault("SLIPWAY_SECRET_KEY", "only-for-tests")
os.environ.setdefault("SLIPWAY_SECRET_KEYS", "dGVzdHMtb25seS10ZXN0cy1vbmx5LXRlc3RzLW9ubHk=")
os.environ.setdefault("SLIPWAY_HOME", tempfile.mkdtemp(prefix="slipway-tests-"))
os.environ.setdefault("SLIPWAY_LOG_LEVEL", "WARNING")

from portal.settings import *  # noqa: E402, F403  (the environment comes first)

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_AUTOREFRESH = True  # static files are looked for when asked for: a scan for each test client took a third
