"""The words of `./slipway`. Each one lives in a module of its own and is imported when it is asked for."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from portal.launcher.errors import Stop

COMMANDS = (
    ("up", "start everything and watch it; --detach to come back when it is ready"),
    ("down", "stop everything and leave no process behind"),
    ("status", "what runs; --json for scripts"),
    ("logs", "show the log of all processes or of one; -f to follow"),
    ("token", "`token create` makes an API token"),
    ("demo", "the whole story through the REST API, with real traffic"),
    ("test", "install what the tests need and run them"),
    ("check", "style, types, import contracts, missing migrations, dependency audit"),
    ("bench", "measure, and print ratios and how they were taken"),
    ("rotate-secrets", "encrypt stored secrets with a new key (portal stopped)"),
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="./slipway", description="Deploy machine-learning models on AKS, or on this machine."
    )
    subs = top.add_subparsers(dest="command", metavar="COMMAND")
    made = {name: subs.add_parser(name, help=text, description=text) for name, text in COMMANDS}
    subs.add_parser("help", help="this text")
    subs.add_parser("supervise").add_argument("--in-front", action="store_true")
    made["up"].add_argument("--detach", action="store_true", help="return when everything is ready")
    made["status"].add_argument("--json", action="store_true", help="for scripts")
    made["logs"].add_argument("name", nargs="?", help="web, web-tls, worker, beat, broker, sandbox or supervisor")
    made["logs"].add_argument("-f", "--follow", action="store_true", help="go on as lines come")
    made["logs"].add_argument("-n", "--lines", type=int, default=50, help="how many lines of each (50)")
    _token(made["token"])
    made["demo"].add_argument("--keep", action="store_true", help="leave the endpoint up and write demo.json")
    made["test"].add_argument("pytest", nargs=argparse.REMAINDER, help="passed to pytest: runs only what it names")
    made["bench"].add_argument("names", nargs="*", help="which benchmarks (all)")
    made["bench"].add_argument("--seed", type=int, default=1, help="which story chaos tells (1)")
    made["bench"].add_argument("--operations", type=int, default=200, help="how many operations chaos asks for (200)")
    return top


def _token(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("action", choices=["create"])
    sub.add_argument("--name", default="command line", help="to recognise it by")
    sub.add_argument("--user", default="admin", help="whose token (admin)")
    sub.add_argument("--role", default="Owner", choices=["Reader", "Contributor", "Operator", "Owner"])
    sub.add_argument("--workspace", default="", help="only this workspace")
    sub.add_argument("--days", type=int, default=90, help="how long it lives (90)")


def run(options: argparse.Namespace) -> int:
    """Run one command; its exit code. Raises Stop."""
    from portal.launcher import commands

    functions: dict[str, Callable[[], int]] = {
        "up": lambda: commands.up(detach=options.detach),
        "supervise": lambda: commands.supervise(in_front=options.in_front),
        "down": commands.down,
        "status": lambda: commands.status(as_json=options.json),
        "logs": lambda: commands.logs(options.name, lines=options.lines, follow=options.follow),
        "token": lambda: commands.token(options),
        "rotate-secrets": commands.rotate_secrets,
        "demo": lambda: commands.demo(keep=options.keep),
        "test": lambda: commands.test(options.pytest),
        "check": commands.check,
        "bench": lambda: commands.bench(options.names, seed=options.seed, operations=options.operations),
    }
    return functions[options.command]()


def main() -> int:
    """Exit code 0 when all went well, 1 with one sentence on stderr when not."""
    os.umask(0o077)
    top = parser()
    options = top.parse_args()
    if options.command in (None, "help"):
        top.print_help()
        return 0
    try:
        return run(options)
    except Stop as error:
        print(f"slipway: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
