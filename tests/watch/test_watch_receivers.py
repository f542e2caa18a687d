"""Each kind of receiver, against real ones on loopback: what it gets, what is told, what stays secret."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from inbox import Inbox, hanging
from loadgate.plan.notify import Notify, Receiver
from loadgate.plan.problems import PlanError
from loadgate.watch.messages import Sender, trial
from loadgate.watch.notices import Answer
from loadgate.watch.receivers import Post, retry_after, signed

SENDER = Sender("load-1", "load", Notify())
CONTENT = trial(SENDER, "team")


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """Give a receiver on loopback."""
    box = Inbox()
    yield box
    box.close()


def send(receiver: Receiver, environ: dict[str, str] | None = None, folder: Path | None = None) -> Answer:
    """Make one attempt."""
    return asyncio.run(Post(receiver, environ or {}, folder).send(CONTENT))


def webhook(timeout: float = 5.0, **keys: object) -> Receiver:
    """Make a webhook whose address is in HOOK."""
    return Receiver(name="team", kind="webhook", url="env:HOOK", timeout=timeout, **keys)


def test_slack_gets_a_text(inbox) -> None:
    """And nothing else."""
    slack = Receiver(name="team", kind="slack", url="env:HOOK")
    assert send(slack, {"HOOK": f"{inbox.url}/services/T0/B0/x"}).ok
    (mail,) = inbox.mails
    assert mail.path == "/services/T0/B0/x"
    assert list(mail.content) == ["text"]
    assert "nothing is wrong" in mail.content["text"]


def test_a_webhook_gets_the_json_with_its_key(inbox) -> None:
    """So that it can tell a repetition."""
    assert send(webhook(), {"HOOK": inbox.url}).ok
    (mail,) = inbox.mails
    assert mail.content == CONTENT
    assert mail.headers["idempotency-key"] == "load-1/team"


def test_a_webhook_can_check_who_sent_it(inbox) -> None:
    """HMAC-SHA256 over timestamp, full stop and body, by the shared key."""
    assert send(webhook(secret="env:KEY"), {"HOOK": inbox.url, "KEY": "k3y"}).ok
    (mail,) = inbox.mails
    at = mail.headers["x-loadgate-timestamp"]
    expected = hmac.new(b"k3y", at.encode() + b"." + mail.body, hashlib.sha256).hexdigest()
    assert mail.headers["x-loadgate-signature"] == f"sha256={expected}"
    assert abs(time.time() - int(at)) < 60


def test_a_signature_is_a_function_of_key_time_and_body() -> None:
    """Worked out with openssl: printf '12.{}' | openssl dgst -sha256 -hmac k."""
    assert signed("k", b"{}", 12) == {
        "X-Loadgate-Timestamp": "12",
        "X-Loadgate-Signature": "sha256=ec1ceb64e9d1e0dbe6a67a72bc67456b853bc92a80adb39414059e96aea60b97",
    }


@pytest.mark.parametrize(
    ("status", "final"),
    [(301, True), (400, True), (404, True), (410, True), (408, False), (429, False), (500, False)],
)
def test_which_answers_are_tried_again(inbox, status: int, final: bool) -> None:
    """Those that may be different the next time; a redirect is not followed."""
    inbox.answers = [(status, {"Location": "/elsewhere"})]
    answer = send(webhook(), {"HOOK": inbox.url})
    assert (answer.ok, answer.final) == (False, final)
    assert f"answered {status}" in answer.text
    assert len(inbox.mails) == 1


def test_retry_after_is_read(inbox) -> None:
    """Of a 429, in seconds."""
    inbox.answers = [(429, {"Retry-After": "7"})]
    assert send(webhook(), {"HOOK": inbox.url}).retry_after == 7.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e99", None),
        ("99999999999", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    """Now is 10 s after the epoch; anything else says nothing."""
    assert retry_after(text, 10.0) == seconds


def test_a_receiver_that_hangs_costs_its_limit(inbox) -> None:
    """And is tried again."""
    let_go = threading.Event()
    inbox.answers = [hanging(let_go)]
    began = time.monotonic()
    answer = send(webhook(timeout=0.2), {"HOOK": inbox.url})
    let_go.set()
    assert (answer.ok, answer.final) == (False, False)
    assert "0.2 s" in answer.text
    assert time.monotonic() - began < 5


def test_a_receiver_that_drips_costs_its_limit(inbox) -> None:
    """The limit is for the whole answer."""

    def drip(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(1000):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return
            threading.Event().wait(0.05)

    inbox.answers = [drip]
    assert not send(webhook(timeout=0.3), {"HOOK": inbox.url}).ok


def test_no_secret_is_in_an_error(closed_port) -> None:
    """Neither the address, nor its path, nor a part of it; host and port are no secret."""
    url = f"http://127.0.0.1:{closed_port}/services/T0123/B0456/abcdefghijkl?token=hush1"
    post = Post(webhook(secret="env:KEY"), {"HOOK": url, "KEY": "k3ykey"}, None)
    answer = asyncio.run(post.send(CONTENT))
    assert not answer.ok
    assert "Connection refused" in answer.text
    for secret in ("T0123", "B0456", "abcdefghijkl", "hush1", "k3ykey"):
        assert secret not in answer.text
        assert secret not in post.mask(f"seen {url} with k3ykey and /services/T0123/B0456/abcdefghijkl")
    assert post.place == f"http://127.0.0.1:{closed_port}/***"


def test_what_an_answer_echoes_of_a_secret_is_struck_out(inbox) -> None:
    """Some receivers repeat the token that they do not know."""

    def echo(handler) -> None:
        body = b"no such token abcdefghijkl"
        handler.send_response(403)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    inbox.answers = [echo]
    answer = send(webhook(), {"HOOK": f"{inbox.url}/services/abcdefghijkl"})
    assert answer.text == "answered 403 no such token ***"


@pytest.mark.parametrize(
    "environ", [{}, {"HOOK": ""}, {"HOOK": "  "}, {"HOOK": "ftp://s3cret"}, {"HOOK": "s3cret"}]
)
def test_a_missing_or_wrong_address_is_told_before_the_load(environ) -> None:
    """Without what it holds."""
    with pytest.raises(PlanError) as caught:
        Post(webhook(), environ, None)
    assert "s3cret" not in str(caught.value)


def test_a_secret_may_be_in_a_file(inbox, tmp_path) -> None:
    """One line of text."""
    (tmp_path / "hook").write_text(inbox.url + "/x\n")
    receiver = Receiver(name="team", kind="webhook", url=f"file:{tmp_path / 'hook'}")
    assert send(receiver).ok
    with pytest.raises(PlanError, match="No such file"):
        Post(Receiver(name="team", kind="webhook", url=f"file:{tmp_path / 'none'}"), {}, None)


def test_a_command_gets_the_json_on_its_standard_input(tmp_path) -> None:
    """Without a shell; exit code 0 is told."""
    out = tmp_path / "out"
    script = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())"
    receiver = Receiver(name="pager", kind="command", command=(sys.executable, "-c", script, f"{out}"))
    assert send(receiver) == Answer(True, "exit code 0")
    assert orjson.loads(out.read_bytes()) == CONTENT


def test_a_command_that_fails_is_tried_again_with_its_last_words() -> None:
    """Any other exit code, and a program that is not there."""
    script = "import sys; sys.stderr.write('no line\\n'); raise SystemExit(7)"
    answer = send(Receiver(name="pager", kind="command", command=(sys.executable, "-c", script)))
    assert answer == Answer(False, "exit code 7: no line")
    answer = send(Receiver(name="pager", kind="command", command=("./no-such-program",)))
    assert answer == Answer(False, "it cannot be run: No such file or directory")


def test_a_command_that_does_not_read_or_end_costs_its_limit() -> None:
    """It is ended."""
    receiver = Receiver(name="pager", kind="command", command=("sleep", "60"), timeout=0.2)
    assert "more than 0.2 s" in send(receiver).text


def test_a_file_is_appended_to(tmp_path) -> None:
    """tickets.md in the folder of the run, unless a path is given; JSON lines by its ending."""
    receiver = Receiver(name="tickets", kind="file")
    assert send(receiver, folder=tmp_path).ok
    assert send(receiver, folder=tmp_path).ok
    assert (tmp_path / "tickets.md").read_text().count("nothing is wrong") == 2
    lines = tmp_path / "log.jsonl"
    assert send(Receiver(name="log", kind="file", path=lines)).ok
    assert orjson.loads(lines.read_bytes())["key"] == "load-1/team"


def test_a_file_that_cannot_be_written_is_a_failure(tmp_path) -> None:
    """A folder, a missing folder, and a pipe that nobody reads, which must not block."""
    os.mkfifo(tmp_path / "pipe")
    for name in (".", "none/tickets.md", "pipe"):
        answer = send(Receiver(name="tickets", kind="file", path=tmp_path / name))
        assert not answer.ok
        assert answer.text
