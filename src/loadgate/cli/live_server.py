"""Serve the live page: to browsers, or to a master that shows it within Locust's web UI."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

from loadgate.cli.serving import Asked, Page, Told
from loadgate.errors import LoadgateError
from loadgate.report.live_page import live_page
from loadgate.swarm.live_guard import PAGE, TOKEN, refusal


class LivePageServer:
    """The pages of a live page.

    With a token, only who brings it is answered: a master, which looks after its own browsers. Without one,
    browsers ask by themselves: then only by a name of this machine, and a stop only from the page itself.
    """

    def __init__(self, state: Callable[[], bytes], stop: Callable[[], str], token: str = "") -> None:
        self._state = state
        self._stop_run = stop
        self._token = token

    @property
    def pages(self) -> Mapping[tuple[str, str], Page]:
        """Return the pages by method and path."""
        return {
            ("GET", "/"): self._guarded(lambda _: Told(b"", status=302, headers={"Location": f"{PAGE}/"})),
            ("GET", PAGE): self._guarded(lambda _: Told(b"", status=302, headers={"Location": f"{PAGE}/"})),
            ("GET", f"{PAGE}/"): self._guarded(self._page),
            ("GET", f"{PAGE}/state"): self._guarded(lambda _: Told(self._state(), "application/json")),
            ("POST", f"{PAGE}/stop"): self._guarded(self._stop),
        }

    def _guarded(self, page: Page) -> Page:
        def answer(asked: Asked) -> Told:
            refusal = self._refusal(asked)
            return Told(f"{refusal}\n".encode(), status=403) if refusal else page(asked)

        return answer

    def _refusal(self, asked: Asked) -> str:
        """Say why a request is not answered; empty where it is."""
        if self._token:
            right = hmac.compare_digest(asked.headers.get(TOKEN.lower(), "").encode(), self._token.encode())
            return "" if right else "this is for the run's master"
        return refusal(
            asked.method, asked.headers.get("host", ""), asked.headers.get("origin"), own_name=True
        )

    def _page(self, _asked: Asked) -> Told:
        page = live_page()
        headers = {
            "Content-Security-Policy": page.policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return Told(page.html, "text/html; charset=utf-8", headers=headers)

    def _stop(self, asked: Asked) -> Told:
        # A form of another site can send no header of its own.
        if asked.headers.get("x-loadgate") != "stop":
            return Told(b"asked without the header that the page sends\n", status=403)
        try:
            return Told(f"{self._stop_run()}\n".encode())
        except LoadgateError as error:
            return Told(f"{error.message}\n".encode(), status=409)
