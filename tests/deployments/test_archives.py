"""Archives of models: made, checked, refused; and the signed URLs to what is kept."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path

import pytest

from deployments import archives, artifacts
from deployments.archives import InvalidArchive
from portal.problems import NotFound


def tar_gz(*members: tuple[str, bytes | None, bytes]) -> io.BytesIO:
    """(name, content, type) as a tar.gz."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content or b""), "/etc/passwd" if content is None else ""
            tar.addfile(info, io.BytesIO(content or b""))
    out.seek(0)
    return out


FILE, FOLDER = tarfile.REGTYPE, tarfile.DIRTYPE


def test_a_good_archive_lists_its_files_with_sizes_and_hashes() -> None:
    (entry,) = archives.inspect(tar_gz(("m", b"", FOLDER), ("m/weights", b"abc", FILE)))
    assert (entry.path, entry.size) == ("m/weights", 3)
    assert entry.sha256.startswith("ba7816bf")


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (("../evil", b"x", FILE), "'..'"),
        (("a/../../evil", b"x", FILE), "'..'"),
        (("/etc/evil", b"x", FILE), "absolute"),
        (("link", None, tarfile.SYMTYPE), "link"),
        (("hard", None, tarfile.LNKTYPE), "link"),
        (("device", b"", tarfile.CHRTYPE), "device"),
        (("pipe", b"", tarfile.FIFOTYPE), "device or pipe"),
    ],
)
def test_a_tar_with_dotdot_links_devices_or_absolute_names_is_refused(
    member: tuple[str, bytes | None, bytes], words: str
) -> None:
    with pytest.raises(InvalidArchive, match=words):
        archives.inspect(tar_gz(("good", b"x", FILE), member))


def test_a_cut_off_or_foreign_archive_is_refused() -> None:
    whole = tar_gz(("a", b"x" * 100_000, FILE)).getvalue()
    for broken in (whole[: len(whole) // 2], whole[:-4], b"no archive at all", b""):
        with pytest.raises(InvalidArchive):
            archives.inspect(io.BytesIO(broken))


def test_paths_may_not_come_twice_or_be_file_and_folder() -> None:
    with pytest.raises(InvalidArchive, match="twice"):
        archives.safe_paths(["a", "./a"])
    with pytest.raises(InvalidArchive, match="file and the folder"):
        archives.safe_paths(["a", "a/b"])
    with pytest.raises(InvalidArchive, match="10001"):
        archives.safe_paths([str(number) for number in range(10_001)])


def test_packing_the_same_files_gives_the_same_bytes_in_any_order() -> None:
    def pack(names: str) -> bytes:
        out = io.BytesIO()
        archives.pack([(name, io.BytesIO(name.encode()), 1) for name in names], out)
        return out.getvalue()

    assert pack("ab") == pack("ba")


def test_equal_bytes_are_kept_once_and_a_half_written_blob_is_replaced(artifact_folder: Path) -> None:
    digest, size = artifacts.store(io.BytesIO(b"hello"))
    path = artifact_folder / artifacts.path_of(digest)
    path.write_bytes(b"hel")
    assert artifacts.store(io.BytesIO(b"hello")) == (digest, size) == (digest, 5)
    assert path.read_bytes() == b"hello"
    assert len([item for item in artifact_folder.rglob("*") if item.is_file()]) == 1


def test_other_bytes_than_announced_leave_nothing(artifact_folder: Path) -> None:
    with pytest.raises(artifacts.Mismatch):
        artifacts.store(io.BytesIO(b"hello"), "0" * 64)
    assert not list(artifact_folder.rglob("*"))


def test_a_lost_blob_is_said() -> None:
    with pytest.raises(NotFound):
        artifacts.open_blob("0" * 64)


def test_a_signature_binds_method_blob_and_expiry() -> None:
    soon = int(time.time()) + 60
    good = artifacts.sign("GET", "a" * 64, soon)
    assert artifacts.verify("GET", "a" * 64, str(soon), good)
    assert not artifacts.verify("PUT", "a" * 64, str(soon), good)
    assert not artifacts.verify("GET", "b" * 64, str(soon), good)
    assert not artifacts.verify("GET", "a" * 64, str(soon + 1), good)
    assert not artifacts.verify("GET", "a" * 64, str(soon), "ü")
    past = int(time.time()) - 1
    assert not artifacts.verify("GET", "a" * 64, str(past), artifacts.sign("GET", "a" * 64, past))
