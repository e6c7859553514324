"""`python -m compute.sandbox`: run the pretend Azure until SIGTERM or SIGINT."""

import asyncio
import logging
import os
import signal
import sys

from compute.sandbox.app import Sandbox
from compute.sandbox.kubelet import confine
from compute.sandbox.settings import BadSetting, Settings


async def _serve(settings: Settings) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    sandbox = Sandbox(settings)
    try:
        await sandbox.start()
        print(
            f"sandbox ready on ports {settings.http_port} and {settings.https_port}, pods {confine.status()}",
            flush=True,
        )
        await ended.wait()
    finally:
        await sandbox.stop()


def main() -> int:
    """Run; 1 and one sentence when it cannot start."""
    os.umask(0o077)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(_serve(Settings.from_env()))
    except (BadSetting, OSError, ValueError) as error:
        print(f"The sandbox cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
