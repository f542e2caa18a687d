"""Where the live page is, and who may ask for it: one rule for the control room and for Locust's web UI."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from loadgate.swarm.secret import is_loopback

PAGE: Final = "/loadgate"
TOKEN: Final = "X-Loadgate-Token"


def refusal(method: str, host: str, origin: str | None, *, own_name: bool) -> str:
    """Say why what a browser asks is not answered; "" where it is.

    `host` and `origin` are the headers. With `own_name` only a name of this machine is answered, so that no
    other site can lead its visitors here by a name of its own; and nothing but reading is done for the page
    of another origin.
    """
    if own_name and not is_loopback(_name_in(host)):
        return "asked by a name that is not this machine's"
    if method not in ("GET", "HEAD") and origin and _place_of(origin) != host:
        return "asked by a page of another origin"
    return ""


def _name_in(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _place_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
