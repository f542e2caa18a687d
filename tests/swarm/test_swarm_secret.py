"""The shared secret: where it comes from, and what is not trusted."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadgate.errors import UsageError
from loadgate.swarm import secret as module
from loadgate.swarm.secret import fork_secret, is_loopback, secret_for

GIVEN = "sixteen-letters!"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose runtime folder is the test's own."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    return {"XDG_RUNTIME_DIR": str(runtime)}


def folder_of(home: dict[str, str]) -> Path:
    return Path(home["XDG_RUNTIME_DIR"]) / "loadgate"


# -- given secrets ------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "*", "10.0.0.1", None])
def test_the_variable_comes_first(host: str | None, tmp_path: Path) -> None:
    """LOADGATE_SECRET is the secret for every host, before any file; white space around it does not count."""
    environ = {"LOADGATE_SECRET": f" {GIVEN}\n", "LOADGATE_SECRET_FILE": str(tmp_path / "none")}
    assert secret_for(host, environ) == GIVEN.encode()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_file_comes_second(host: str, tmp_path: Path) -> None:
    """The content of LOADGATE_SECRET_FILE, stripped, so that file and variable can hold the same secret."""
    file = tmp_path / "secret"
    file.write_text(f"{GIVEN}\n\n", encoding="utf-8")
    assert secret_for(host, {"LOADGATE_SECRET_FILE": str(file)}) == GIVEN.encode()


@pytest.mark.parametrize("text", ["", "zzshort", "z" * 15, "zz" + " " * 20])
@pytest.mark.parametrize("by", ["variable", "file"])
def test_a_short_secret_is_an_error(text: str, by: str, tmp_path: Path, home: dict[str, str]) -> None:
    """15 characters are too few, also on loopback: what is given is never passed over. It is not shown."""
    file = tmp_path / "secret"
    file.write_text(text, encoding="utf-8")
    given = {"LOADGATE_SECRET": text} if by == "variable" else {"LOADGATE_SECRET_FILE": str(file)}
    with pytest.raises(UsageError, match="at least 16") as caught:
        secret_for("127.0.0.1", home | given)
    assert "zz" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("name", ["missing", "", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_an_error(name: str, tmp_path: Path, home: dict[str, str]) -> None:
    """A path that leads nowhere, or to a folder, is an error; the key file does not stand in for it."""
    path = str(tmp_path / name) if name == "missing" else name
    with pytest.raises(UsageError, match="cannot be read"):
        secret_for("127.0.0.1", home | {"LOADGATE_SECRET_FILE": path})


def test_a_huge_file_is_no_secret(tmp_path: Path) -> None:
    """A file over 64 KiB is an error."""
    file = tmp_path / "secret"
    file.write_bytes(b"x" * (64 * 1024 + 1))
    with pytest.raises(UsageError, match="over 64 KiB"):
        secret_for("127.0.0.1", {"LOADGATE_SECRET_FILE": str(file)})


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "::", "", None, "10.1.2.3", "load.example", "128.0.0.1"])
def test_beyond_loopback_a_secret_is_needed(host: str | None, home: dict[str, str]) -> None:
    """Without one the error shows the line to run on each host, and no key file is made."""
    with pytest.raises(UsageError, match="shared secret") as caught:
        secret_for(host, home)
    assert "export LOADGATE_SECRET=$(openssl rand -hex 32)" in caught.value.hint
    assert not folder_of(home).exists()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("localhost", True),
        ("LocalHost", True),
        ("::1", True),
        ("[::1]", True),
        ("0:0:0:0:0:0:0:1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("126.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("*", False),
        ("", False),
        (None, False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("192.168.0.1", False),
    ],
)
def test_what_is_loopback(host: str | None, loopback: bool) -> None:
    """127.0.0.0/8, ::1 and localhost, in any spelling; all else is not."""
    assert is_loopback(host) is loopback


# -- the key file -------------------------------------------------------------------------------


def test_a_key_file_is_made_once(home: dict[str, str]) -> None:
    """The first call makes 256 random bits as text, for the user alone; later calls read them."""
    first = secret_for("127.0.0.1", home)
    assert len(bytes.fromhex(first.decode())) == 32
    assert secret_for("localhost", home) == first
    folder = folder_of(home)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    assert os.listdir(folder) == ["key"]


def test_a_loose_umask_lets_nobody_in(home: dict[str, str]) -> None:
    """The modes hold whatever the umask is."""
    before = os.umask(0)
    try:
        secret_for("127.0.0.1", home)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder_of(home).stat().st_mode) == 0o700
    assert stat.S_IMODE((folder_of(home) / "key").stat().st_mode) == 0o600


def test_without_a_runtime_folder_the_key_is_in_the_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is `loadgate-<uid>` there; a runtime folder that does not exist counts as none."""
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(module, "_is_folder_of", lambda path, user: False)
    key = secret_for("::1", {"XDG_RUNTIME_DIR": str(tmp_path / "gone")})
    assert (tmp_path / f"loadgate-{os.geteuid()}" / "key").read_bytes() == key


def _open_file(folder: Path) -> None:
    (folder / "key").chmod(0o640)


def _open_folder(folder: Path) -> None:
    folder.chmod(0o750)


def _link_file(folder: Path) -> None:
    (folder / "key").rename(folder / "other")
    (folder / "key").symlink_to(folder / "other")


def _link_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def _folder_for_file(folder: Path) -> None:
    (folder / "key").unlink()
    (folder / "key").mkdir()


def _pipe_for_file(folder: Path) -> None:
    (folder / "key").unlink()
    os.mkfifo(folder / "key", 0o600)


def _file_for_folder(folder: Path) -> None:
    (folder / "key").unlink()
    folder.rmdir()
    folder.write_text("x", encoding="utf-8")


def _short_file(folder: Path) -> None:
    (folder / "key").write_text("", encoding="utf-8")


def _long_file(folder: Path) -> None:
    (folder / "key").write_text("0" * 65, encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_open_file, "mode 0640"),
        (_open_folder, "mode 0750"),
        (_link_file, "link"),
        (_link_folder, "link"),
        (_folder_for_file, "no file"),
        (_pipe_for_file, "no file"),
        (_file_for_folder, "no folder"),
        (_short_file, "damaged"),
        (_long_file, "damaged"),
    ],
)
def test_a_key_that_others_could_know_is_refused(
    home: dict[str, str], spoil: Callable[[Path], None], why: str
) -> None:
    """A mode, link or kind of file that is not as it was made is an error with a remedy, never a new key."""
    key = secret_for("127.0.0.1", home)
    spoil(folder_of(home))
    with pytest.raises(UsageError, match=why) as caught:
        secret_for("127.0.0.1", home)
    assert "remove it" in caught.value.hint
    assert key.decode() not in caught.value.message + caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", ["", "key"])
def test_a_key_of_another_user_is_refused(home: dict[str, str], name: str) -> None:
    """Neither the folder nor the file may belong to somebody else."""
    secret_for("127.0.0.1", home)
    os.chown(folder_of(home) / name, 65534, 65534)
    with pytest.raises(UsageError, match="another user"):
        secret_for("127.0.0.1", home)


def test_a_folder_that_cannot_be_made_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing can be written, the hint says how to go without a key file."""
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path / "gone"))
    monkeypatch.setattr(module, "_is_folder_of", lambda path, user: False)
    with pytest.raises(UsageError, match="cannot be made or read") as caught:
        secret_for("127.0.0.1", {})
    assert "LOADGATE_SECRET" in caught.value.hint


@pytest.mark.system
def test_processes_that_begin_together_agree(home: dict[str, str]) -> None:
    """Eight processes that start at the same moment, with no key yet, all get one and the same key."""
    code = (
        "import os, sys\n"
        "from loadgate.swarm.secret import secret_for\n"
        "sys.stdout.write('ready'); sys.stdout.flush(); sys.stdin.readline()\n"
        "print(secret_for('127.0.0.1', os.environ).decode())"
    )
    environ = {k: v for k, v in os.environ.items() if not k.startswith("LOADGATE_")} | home
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.read(5) == "ready"
    keys = {process.communicate("go\n", timeout=60)[0].strip() for process in started}
    assert len(keys) == 1
    assert os.listdir(folder_of(home)) == ["key"]
    assert secret_for("127.0.0.1", home).decode() in keys


# -- for children -------------------------------------------------------------------------------


def test_children_get_a_secret_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random secret goes into the environment: 64 hexadecimal digits, another one each time."""
    found = []
    # Set first, so that the end of the test takes away whatever is there by then.
    monkeypatch.setenv("LOADGATE_SECRET", "x")
    monkeypatch.delenv("LOADGATE_SECRET_FILE", raising=False)
    for _ in range(2):
        del os.environ["LOADGATE_SECRET"]
        fork_secret()
        found.append(os.environ["LOADGATE_SECRET"])
    assert found[0] != found[1]
    assert [len(bytes.fromhex(one)) for one in found] == [32, 32]


@pytest.mark.parametrize("name", ["LOADGATE_SECRET", "LOADGATE_SECRET_FILE"])
def test_a_given_secret_stays_for_the_children(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Workers on other hosts have it too."""
    monkeypatch.delenv("LOADGATE_SECRET", raising=False)
    monkeypatch.delenv("LOADGATE_SECRET_FILE", raising=False)
    monkeypatch.setenv(name, GIVEN)
    fork_secret()
    assert {k: v for k, v in os.environ.items() if k.startswith("LOADGATE_SECRET")} == {name: GIVEN}
