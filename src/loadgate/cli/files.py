"""Write a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from loadgate.errors import UsageError


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write, with the folders above it; it is there once the block has ended well.

    What is no regular file (a pipe, a device) is written as it stands. UsageError when that cannot be done.
    """
    try:
        real = path.resolve()
        if real.exists() and not real.is_file():
            with real.open("wb") as file:
                yield file
            return
        real.parent.mkdir(parents=True, exist_ok=True)
        number, draft = tempfile.mkstemp(prefix=f".{real.name}-", dir=real.parent)
        try:
            with os.fdopen(number, "wb") as file:
                yield file
            # Only its owner may read what mkstemp makes; a report is for everybody, as a new file would be.
            mask = os.umask(0)
            os.umask(mask)
            Path(draft).chmod(0o666 & ~mask)
            Path(draft).replace(real)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be written: {reason}", hint="choose another file") from error
