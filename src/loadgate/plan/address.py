"""Web addresses of a plan: http or https, without credentials or anything that a request adds itself."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from loadgate.plan.units import UnitError


def check_url(url: str, *, query: bool) -> None:
    """Refuse anything but http(s)://host[:port][/prefix]; the text never echoes credentials."""
    hint = 'for example "http://127.0.0.1:3000"'
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise UnitError("is not a URL (a wrong port or address)", hint) from None
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise UnitError(
            "holds credentials", 'send them as a header: headers = { Authorization = "env:NAME" }'
        )
    if parts.scheme not in ("http", "https") or not host:
        raise UnitError(f"'{url}' is not an http or https URL", hint)
    if port == 0 or re.search(r"[\s\x00-\x1f\"<>\\^`{|}]", url) or parts.netloc.endswith(":"):
        raise UnitError(f"'{url}' is not a URL (a wrong port or a character that must not be there)", hint)
    if (parts.query or "?" in url) and not query:
        raise UnitError(f"'{url}' has a query", "requests name their own; " + hint)
    if parts.fragment or "#" in url:
        raise UnitError(f"'{url}' has a fragment", hint)


def check_target(text: str) -> None:
    """Refuse what is neither a path on the host ("/health") nor a whole URL; UnitError says why."""
    if text.startswith("/") and not text.startswith("//") and not re.search(r"[\s\x00-\x1f#]", text):
        return
    check_url(text, query=True)


def check_path(text: str) -> None:
    """Refuse what is no path on the host: it begins with one slash, and holds no blank or fragment."""
    if not text.startswith("/") or text.startswith("//") or re.search(r"[\s\x00-\x1f#]", text):
        raise UnitError(f"'{text}' is not a path on the host", 'for example "/api/v1/items?limit=1"')
