"""Find the secret that a master and its workers share.

It comes from LOADGATE_SECRET, or from the file that LOADGATE_SECRET_FILE names. Without either, and
only on loopback, it is a key file of the user's own, made at first use: all processes of one user on one
machine can read it, and nobody else can. Beyond loopback there is no default.

A secret goes into no message, log, error or repr.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from loadgate.errors import UsageError

SECRET: Final = "LOADGATE_SECRET"
SECRET_FILE: Final = "LOADGATE_SECRET_FILE"
LEAST_LENGTH: Final = 16
"""Characters of the shortest secret that a user may give."""

_LARGEST_FILE = 64 * 2**10
_KEY_LENGTH = 64
_MAKE_ONE = "export LOADGATE_SECRET=$(openssl rand -hex 32)"
_SHARE = f"make one with\n    {_MAKE_ONE}\nand export the same value on every host"
_GIVE_ONE = f"or go without the key file: {_MAKE_ONE}"
_OPEN_TRIES = 3


def secret_for(host: str | None, environ: Mapping[str, str]) -> bytes:
    """Return the secret for a connection with `host`, the address that is bound or connected to.

    Without a secret in `environ`, a loopback host gets the user's key file, made where it does not exist.
    Raise UsageError for any other host, and for a secret or key file that is not to be trusted.
    """
    if SECRET in environ:
        return _long_enough(environ[SECRET], f"the variable {SECRET}")
    if SECRET_FILE in environ:
        return _long_enough(_read_given(environ[SECRET_FILE]), f"the file that {SECRET_FILE} names")
    if is_loopback(host):
        return _key_of_user(_key_folder(environ))
    where = host or "an unknown address"
    raise UsageError(
        f"master and workers need a shared secret to speak through {where}, which is not loopback",
        hint=_SHARE,
    )


def is_loopback(host: str | None) -> bool:
    """Tell whether only this machine is reached by `host`: 127.0.0.0/8, ::1 or localhost."""
    if host is None:
        return False
    name = host.strip().removeprefix("[").removesuffix("]").lower()
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def fork_secret() -> None:
    """Put a random secret into this process's environment, for the children it starts.

    A secret that is given already stays: workers on other hosts have it too.
    """
    if SECRET not in os.environ and SECRET_FILE not in os.environ:
        os.environ[SECRET] = secrets.token_hex(32)


# -- a secret that is given ---------------------------------------------------------------------


def _long_enough(text: str, where: str) -> bytes:
    secret = text.strip()
    if len(secret) < LEAST_LENGTH:
        raise UsageError(
            f"{where} holds {len(secret)} characters; a secret takes at least {LEAST_LENGTH}", hint=_SHARE
        )
    return secret.encode("utf-8", "surrogateescape")


def _read_given(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no usable path"
        raise UsageError(
            f"the file that {SECRET_FILE} names cannot be read: {path}: {reason}",
            hint=f"name a file that holds the secret, or {_SHARE}",
        ) from error
    if len(content) > _LARGEST_FILE:
        raise UsageError(f"the file that {SECRET_FILE} names is no secret but over 64 KiB: {path}")
    return content.decode("utf-8", "surrogateescape")


# -- the key file of the user's own -------------------------------------------------------------


def _key_folder(environ: Mapping[str, str]) -> Path:
    """Name the folder of the key file: in the user's own runtime folder where there is one.

    A process that was started without the session's variables (by cron, over ssh, by a service) must
    find the same folder, hence the second look.
    """
    user = os.geteuid()
    for runtime in (environ.get("XDG_RUNTIME_DIR"), f"/run/user/{user}"):
        if runtime and _is_folder_of(Path(runtime), user):
            return Path(runtime) / "loadgate"
    return Path(tempfile.gettempdir()) / f"loadgate-{user}"


def _is_folder_of(path: Path, user: int) -> bool:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == user


def _key_of_user(folder: Path) -> bytes:
    """Return the key in `folder`, made where there is none. Raise UsageError when others could know it."""
    try:
        handle = _open_folder(folder)
        try:
            return _read_or_make_key(handle, folder / "key")
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _distrusted(folder, "it is a link or no folder") from error
        raise UsageError(
            f"the key file of this user cannot be made or read: {folder}: {error.strerror}",
            hint=f"make the folder usable, {_GIVE_ONE}",
        ) from error


def _open_folder(folder: Path) -> int:
    """Return a descriptor of the folder, checked, so that nobody can exchange it later."""
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _check(os.fstat(handle), folder)
    except UsageError:
        os.close(handle)
        raise
    return handle


def _read_or_make_key(folder: int, path: Path) -> bytes:
    for _ in range(_OPEN_TRIES):
        try:
            handle = os.open("key", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            _make_key(folder)
            continue
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _distrusted(path, "it is a link") from error
            raise
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise _distrusted(path, "it is no file")
            _check(found, path)
            return _key_in(os.read(handle, _KEY_LENGTH + 1), path)
        finally:
            os.close(handle)
    raise _distrusted(path, "it vanishes as soon as it is made")


def _make_key(folder: int) -> None:
    """Make the key file whole or not at all; when another process is faster, its key is the one.

    It is written under a name of its own and linked to `key`, which fails where that exists: nobody
    ever reads half a key, and a process that dies in between leaves nothing in the way.
    """
    name = f".{os.getpid()}-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        with open(handle, "wb") as file:
            file.write(secrets.token_hex(_KEY_LENGTH // 2).encode())
            file.flush()
            os.fchmod(handle, 0o600)
            os.fsync(handle)
        os.link(name, "key", src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        pass
    finally:
        os.unlink(name, dir_fd=folder)


def _key_in(content: bytes, path: Path) -> bytes:
    if len(content) != _KEY_LENGTH:
        raise UsageError(
            f"the key file of this user is damaged: {path}",
            hint=f"remove it while nothing of Loadgate runs, {_GIVE_ONE}",
        )
    return content


def _check(found: os.stat_result, path: Path) -> None:
    """Raise UsageError for a folder or file that is not the user's alone."""
    if found.st_uid != os.geteuid():
        raise _distrusted(path, "it belongs to another user")
    if found.st_mode & 0o077:
        raise _distrusted(path, f"its mode {stat.S_IMODE(found.st_mode):04o} lets others in")


def _distrusted(path: Path, why: str) -> UsageError:
    return UsageError(
        f"the key file of this user cannot be trusted: {path}: {why}", hint=f"remove it, {_GIVE_ONE}"
    )
