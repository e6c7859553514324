"""The wrapper that runs users' code: what it may reach, and what it may not."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from compute.sandbox.kubelet import confine
from compute.sandbox.kubelet.process import Process

pytestmark = pytest.mark.skipif(not confine.landlock_abi(), reason="this kernel has no Landlock")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a secret file, two pods and a folder for the one that runs."""
    for name in ("state", "pods/other", "pods/mine", "volume"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "state/credentials.json").write_text("secret of the portal")
    (tmp_path / "pods/other/score.py").write_text("secret of another pod")
    (tmp_path / "volume/config.json").write_text("{}")
    return tmp_path


def spec(home: Path, code: str, **env: str) -> confine.Spec:
    return {
        "argv": [sys.executable, "-c", textwrap.dedent(code)],
        "env": {"PATH": "/usr/bin:/bin", "HOME": str(home / "pods/mine"), **env},
        "cwd": str(home / "pods/mine"),
        "parent": os.getpid(),
        "read": [*confine.python_roots(sys.executable), str(home / "volume")],
        "write": [str(home / "pods/mine")],
    }


def start(wanted: confine.Spec) -> "subprocess.Popen[str]":
    read, write = os.pipe()
    child = subprocess.Popen(
        confine.command(read), pass_fds=(read,), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        pipe.write(confine.encode(wanted))
    return child


def output(wanted: confine.Spec) -> str:
    child = start(wanted)
    return child.communicate(timeout=60)[0]


READER = """
import sys
for path in {paths!r}:
    try:
        open(path, "rb").read()
        print("read", path)
    except OSError as error:
        print(type(error).__name__, path)
"""


def test_a_confined_program_reads_its_volumes_and_not_the_state_of_the_portal_or_another_pod(home: Path) -> None:
    allowed = [str(home / "volume/config.json"), "/etc/hosts", "/proc/self/environ", "/dev/urandom"][:3]
    refused = [str(home / "state/credentials.json"), str(home / "pods/other/score.py"), "/etc/shadow"]
    said = output(spec(home, READER.format(paths=[*allowed, *refused]))).splitlines()
    assert said[:3] == [f"read {path}" for path in allowed]
    assert said[3:] == [f"PermissionError {path}" for path in refused]


def test_a_confined_program_cannot_list_a_folder_or_write_outside_its_own(home: Path) -> None:
    code = f"""
    import os
    open("mine.txt", "w").write("ok")
    for step in (lambda: os.listdir({str(home / "state")!r}), lambda: open({str(home / "volume/x")!r}, "w"),
                 lambda: open({str(home / "volume/config.json")!r}, "w"), lambda: open("/tmp/slipway-x", "w"),
                 lambda: os.link({str(home / "state/credentials.json")!r}, "stolen"),
                 lambda: os.listdir("/dev/shm")):
        try:
            step()
            print("did it")
        except OSError as error:
            print("refused")
    """
    assert output(spec(home, code)).split() == ["refused"] * 6
    assert (home / "pods/mine/mine.txt").read_text() == "ok"


def test_the_environment_of_parent_and_sibling_is_refused_and_its_own_is_only_what_it_was_given(home: Path) -> None:
    sibling = start(spec(home, "import time; time.sleep(60)", TOKEN="of the sibling"))
    try:
        time.sleep(0.3)
        paths = [f"/proc/{os.getpid()}/environ", f"/proc/{sibling.pid}/environ", f"/proc/{os.getpid()}/mem"]
        assert output(spec(home, READER.format(paths=paths))).splitlines() == [f"PermissionError {p}" for p in paths]
    finally:
        sibling.kill()
        sibling.wait()
    os.environ["SLIPWAY_TEST_SECRET"] = "leak"
    try:
        said = output(spec(home, "import os, json; print(json.dumps(sorted(os.environ)))", MINE="1"))
    finally:
        del os.environ["SLIPWAY_TEST_SECRET"]
    assert set(json.loads(said)) - {"LC_CTYPE"} == {"HOME", "MINE", "PATH"}


def test_signals_to_processes_outside_are_refused_where_the_kernel_can(home: Path) -> None:
    if confine.landlock_abi() < 6:
        pytest.skip("Landlock before ABI 6 cannot scope signals")
    code = f"""
    import os
    try:
        os.kill({os.getpid()}, 0)
        print("sent")
    except PermissionError:
        print("refused")
    """
    assert output(spec(home, code)).strip() == "refused"


def test_python_child_processes_threads_and_semaphores_work_inside(home: Path) -> None:
    code = """
    import multiprocessing, os, resource, ssl, sqlite3, subprocess, sys, tempfile
    print(subprocess.run([sys.executable, "-c", "print('child')"], capture_output=True, text=True).stdout.strip())
    print(subprocess.run("echo shell; ls", shell=True, capture_output=True, text=True).stdout.split()[0])
    multiprocessing.Lock()
    sys.path.insert(0, os.getcwd())
    print(resource.getrlimit(resource.RLIMIT_CORE), os.nice(0) >= 5, os.getsid(0) == os.getpid())
    print(open("/proc/self/status").read().split("NoNewPrivs:")[1].split()[0], sorted(os.listdir("/proc/self/fd"))[:3])
    open("/dev/stdout", "w").write("through dev\\n")
    """
    said = output(spec(home, code)).splitlines()
    assert said == ["child", "shell", "(0, 0) True True", "1 ['0', '1', '2']", "through dev"] or said == [
        "through dev", "child", "shell", "(0, 0) True True", "1 ['0', '1', '2']",
    ]  # fmt: skip


def test_the_program_gets_no_descriptor_of_its_starter(home: Path) -> None:
    with (home / "state/credentials.json").open() as secret:
        os.set_inheritable(secret.fileno(), True)
        code = "import os; print(len([n for n in os.listdir('/proc/self/fd')]))"
        assert output(spec(home, code)).strip() == "4"  # three, and the listing itself


def test_the_program_dies_with_its_starter_even_when_that_is_killed(home: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(f"""
        import json, os, subprocess, sys, time
        from compute.sandbox.kubelet import confine
        spec = json.loads({json.dumps(json.dumps(spec(home, "import time; time.sleep(60)")))})
        spec["parent"] = os.getpid()
        read, write = os.pipe()
        child = subprocess.Popen(confine.command(read), pass_fds=(read,))
        os.close(read); os.write(write, confine.encode(spec)); os.close(write)
        print(child.pid, flush=True)
        time.sleep(60)
        """)],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    child = int(starter.stdout.readline())
    time.sleep(0.3)
    assert Path(f"/proc/{child}").exists()
    starter.kill()
    starter.wait()
    assert gone_within(child, 2)


def gone_within(pid: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_the_status_is_one_word_where_the_kernel_can_confine() -> None:
    assert confine.status() == "confined"


@pytest.mark.parametrize(("setting", "got"), [("off", "read"), ("on", "PermissionError"), ("", "PermissionError")])
async def test_programs_are_confined_unless_that_is_switched_off_and_the_status_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch, setting: str, got: str
) -> None:
    monkeypatch.setenv("SANDBOX_CONFINE", setting)
    said = bytearray()
    code = READER.format(paths=[str(home / "state/credentials.json")])
    assert await Process.start(spec(home, code), said.extend, None).wait() == 0
    assert said.decode().split()[0] == got
    done = subprocess.run([*confine.command(0)[:-1], "status"], capture_output=True, text=True)
    assert done.stdout == ("confined\n" if got != "read" else "not confined: SANDBOX_CONFINE is off\n")


def test_a_program_that_does_not_exist_is_said_in_one_sentence(home: Path) -> None:
    wanted = spec(home, "")
    wanted["argv"] = ["no-such-program"]
    child = start(wanted)
    assert child.communicate(timeout=30)[0].startswith("cannot start the program: ")
    assert child.returncode == 126


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_is_confined_in_the_same_way(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    interpreter = next((p for p in ("/usr/bin/python3", "/usr/local/bin/python3") if Path(p).exists()), None)
    if interpreter is None:
        pytest.skip("no interpreter that another user can run")
    home = Path("/tmp") / f"slipway-confine-{os.getpid()}"
    (home / "pod").mkdir(parents=True)
    (home / "state").mkdir()
    (home / "state/credentials.json").write_text("secret")
    shutil.copy(confine.__file__, home / "confine.py")
    (home / "run.py").write_text(
        textwrap.dedent(f"""
    import json, os, subprocess, sys
    sys.path.insert(0, {str(home)!r})
    import confine
    code = {READER.format(paths=[str(home / "state/credentials.json"), "/etc/hosts", "/proc/PARENT/environ"])!r}
    code = code.replace("PARENT", str(os.getpid()))
    spec = {{"argv": [sys.executable, "-c", code], "env": {{"PATH": "/usr/bin:/bin"}},
            "cwd": {str(home / "pod")!r}, "parent": os.getpid(), "write": [{str(home / "pod")!r}],
            "read": confine.python_roots(sys.executable)}}
    read, write = os.pipe()
    child = subprocess.Popen(confine.command(read), pass_fds=(read,))
    os.close(read); os.write(write, confine.encode(spec)); os.close(write)
    sys.exit(child.wait())
    """)
    )
    for path in (home, *home.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    try:
        said = subprocess.run(
            [interpreter, str(home / "run.py")], user="nobody", group="nogroup", extra_groups=[], cwd="/",
            env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    finally:
        shutil.rmtree(home)
    assert [line.split()[0] for line in said.stdout.splitlines()] == ["PermissionError", "read", "PermissionError"], (
        said
    )
