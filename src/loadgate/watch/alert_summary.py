"""The alerts of a run in short: each time that a rule fired, from when to when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from loadgate.store.watch import AlertChange


def summary_of(changes: Iterable[AlertChange]) -> list[dict[str, Any]]:
    """Return each alert of a run as plain values for JSON, in order of the time at which it fired.

    `changes` are those of any rules, each rule's in order. `fired_at` and `resolved_at` are run time in
    seconds; an alert that was still firing at the end has no `resolved_at`. `state` is "firing", "flapping"
    or "resolved"; `value` (SI, None where it is infinite or there was no data), `limit`, `unit`, `metric`,
    `because` and `text` are those of the moment at which it fired.
    """
    found: list[dict[str, Any]] = []
    open_now: dict[str, dict[str, Any]] = {}
    for change in changes:
        going = open_now.get(change.rule)
        if change.state in ("firing", "flapping"):
            if going is None:
                going = open_now[change.rule] = _begun(change)
                found.append(going)
            going["state"] = change.state
            going["flapped"] = going["flapped"] or change.state == "flapping"
        elif change.state == "resolved" and going is not None:
            going |= {"state": "resolved", "resolved_at": change.at}
            del open_now[change.rule]
    return sorted(found, key=lambda alert: alert["fired_at"])


def _begun(change: AlertChange) -> dict[str, Any]:
    detail = change.detail
    return {
        "rule": change.rule,
        "severity": change.severity,
        "state": change.state,
        "fired_at": change.at,
        "resolved_at": None,
        "flapped": False,
        "value": change.value,
        "infinite": bool(detail.get("infinite", False)),
        "limit": detail.get("limit"),
        "unit": detail.get("unit", ""),
        "metric": detail.get("metric", ""),
        "since": detail.get("since"),
        "window": detail.get("window"),
        "because": detail.get("because", "threshold"),
        "text": detail.get("text", ""),
        "summary": detail.get("summary", ""),
    }
