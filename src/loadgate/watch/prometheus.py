"""Ask a Prometheus server for one number: an instant query, whose answer has exactly one sample.

Prometheus answers with the last sample of up to five minutes ago (its look-back), so a reading may be that
much older than its attempt; a target that is gone is "no sample" only after that.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from loadgate.watch.parse import NoReading, Reason, as_number, at_path, clean
from loadgate.watch.probes import Answer, accepted

API: Final = "/api/v1/query"


def query_url(server: str, query: str) -> str:
    """Return the URL of an instant query; `server` is its address, with or without the API's path."""
    parts = urlsplit(server)
    path = parts.path.rstrip("/")
    path = path if path.endswith(API) else path + API
    asked = f"query={quote(query, safe='')}"
    return urlunsplit(parts._replace(path=path, query=f"{parts.query}&{asked}" if parts.query else asked))


def sample(answer: Answer) -> float:
    """Return the one sample of an answer; NoReading for an error, none, several, or one that is no number."""
    document = accepted(answer)
    status = at_path(document, "status")
    if status != "success":
        raise NoReading(Reason.STATUS, f"200 with the status {clean(repr(status))[:40]}")
    kind, result = at_path(document, "data.resultType"), at_path(document, "data.result")
    if kind == "scalar":
        return _number(result)
    if kind != "vector" or not isinstance(result, list):
        hint = "an instant query whose result is one number, for example sum(...)"
        raise NoReading(Reason.NOT_A_NUMBER, f"the result is a {clean(str(kind))[:40]}", hint=hint)
    if not result:
        raise NoReading(Reason.NO_SAMPLE, "the query finds nothing", hint="see that its labels are right")
    if len(result) > 1:
        raise NoReading(Reason.SEVERAL, f"the query finds {len(result)}", hint="add labels, or sum(...)")
    return _number(at_path(result, "[0].value"))


def _number(pair: Any) -> float:
    """Read the value of [time, "value"]; "NaN" and "+Inf" are none."""
    text = at_path(pair, "[1]")
    if not isinstance(text, str):
        raise NoReading(Reason.NOT_A_NUMBER, "the value of a sample is text in Prometheus' format")
    return as_number(text)
