"""Commands that probes run: bounded, and with nothing left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from loadgate.watch.command import ERRORS_KEPT, Program
from loadgate.watch.parse import NoReading, Reason
from loadgate.watch.probes import Ended, Value, command_values

pytestmark = pytest.mark.system


def run(code: str, limit: float = 10.0, largest: int = 1000, **more: bool) -> Ended:
    """Run some Python."""
    return Program(largest).run([sys.executable, "-c", code], limit, **more)


def gone(pid: int) -> bool:
    """Wait until a process has ended."""
    ends = time.monotonic() + 5
    while time.monotonic() < ends:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        threading.Event().wait(0.01)
    return False


def test_output_errors_and_status_are_what_the_command_says():
    """Each by itself."""
    code = "import sys; print('42'); print('hm', file=sys.stderr); sys.exit(7)"
    assert run(code) == Ended(7, b"42\n", b"hm\n")


def test_errors_can_be_part_of_the_output():
    """For logs, which come on either."""
    assert run("import sys; print('a', file=sys.stderr)", merged=True) == Ended(0, b"a\n", b"")


def test_no_shell_reads_the_words():
    """What a shell would expand is an argument like any other."""
    code = "import sys; print(sys.argv[1:])"
    ended = Program().run([sys.executable, "-c", code, "$HOME", "*", ";", "a b"], 10.0)
    assert ended.out == b"['$HOME', '*', ';', 'a b']\n"


def test_standard_input_is_empty():
    """A command that asks gets no answer, and does not wait for one."""
    assert run("import sys; print(repr(sys.stdin.read()))").out == b"''\n"


def test_a_signal_is_a_status_below_zero():
    """As everywhere in Python."""
    assert run("import os; os.kill(os.getpid(), 9)").status == -signal.SIGKILL


def test_a_command_that_takes_too_long_is_killed_with_its_group(tmp_path):
    """The child that it started ends as well."""
    mark = tmp_path / "child"
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(mark)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(NoReading) as caught:
        run(code, limit=1.5)
    assert caught.value.reason is Reason.TIMEOUT
    assert gone(int(mark.read_text()))


def test_what_a_command_leaves_running_is_killed_when_it_ends():
    """Though it holds the output open; the reading does not wait for it."""
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid)\n"
    )
    ended = run(code)
    assert ended.status == 0
    assert gone(int(ended.out))


def test_endless_output_is_cut_off():
    """It is killed, and gives no reading."""
    with pytest.raises(NoReading) as caught:
        run("while True: print('x' * 1000)", largest=100_000)
    assert caught.value.reason is Reason.TOO_LARGE


def test_of_its_errors_the_end_is_kept():
    """However many there are."""
    ended = run("import sys; sys.stderr.write('x' * 1_000_000 + 'end')")
    assert len(ended.err) <= ERRORS_KEPT
    assert ended.err.endswith(b"end")


@pytest.mark.parametrize("program", ["/nowhere/at-all", "/etc", "/etc/passwd"])
def test_what_cannot_be_run_is_a_named_failure(program):
    """Not there, a folder, and no program."""
    with pytest.raises(NoReading) as caught:
        Program().run([program], 1.0)
    assert caught.value.reason is Reason.CANNOT_RUN
    assert program in caught.value.text


def test_closing_ends_a_command_that_runs(tmp_path):
    """From another thread, within its next look."""
    program = Program()
    mark = tmp_path / "pid"
    caught: list[NoReading] = []

    def go() -> None:
        code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
        try:
            program.run([sys.executable, "-c", code], 60.0)
        except NoReading as failure:
            caught.append(failure)

    thread = threading.Thread(target=go)
    thread.start()
    while not mark.exists() or not mark.read_text():
        threading.Event().wait(0.01)
    program.close()
    thread.join(5)
    assert not thread.is_alive()
    assert caught
    assert gone(int(mark.read_text()))


def test_a_lost_exit_status_is_no_reading(monkeypatch):
    """Where children are reaped by the system, a status would read as 0."""

    def lost(*_: object) -> None:
        raise ChildProcessError

    monkeypatch.setattr(os, "waitid", lost)
    with pytest.raises(NoReading) as caught:
        run("print(1)")
    assert caught.value.reason is Reason.NOT_OFFERED


# -- what it says --


def test_one_number_is_the_reading_value():
    """With a unit, if it has one."""
    assert command_values(Ended(0, b" 12ms\n", b""), {}) == (Value("value", 0.012), Value("exit_status", 0.0))


def test_json_is_read_by_path():
    """Each path by itself."""
    found = command_values(Ended(0, b'{"queues":[{"length":7}]}', b""), {"n": "queues[0].length", "m": "no"})
    assert found == (
        Value("n", 7.0),
        Value("m", None, "no such field: 'no'"),
        Value("exit_status", 0.0),
    )


@pytest.mark.parametrize(
    ("out", "values", "error"),
    [
        (b"", {}, "not a number: the text ''"),
        (b"1 2", {}, "not a number: the text '1 2'"),
        (b"nan", {}, "not a number: the text 'nan'"),
        (b"oops", {"a": "b"}, "not JSON: "),
    ],
)
def test_what_is_no_number_is_a_named_failure(out, values, error):
    """The status is there all the same."""
    named, status = command_values(Ended(0, out, b""), values)
    assert named.value is None
    assert named.error.startswith(error)
    assert status == Value("exit_status", 0.0)


def test_a_failed_command_has_a_status_and_no_other_reading():
    """Whatever it printed: a number beside a failure is not to be trusted."""
    assert command_values(Ended(3, b"42\n", b"first\nno route to host\n"), {}) == (
        Value("value", None, "ended with: exit status 3: no route to host"),
        Value("exit_status", 3.0),
    )


def test_a_command_that_a_signal_ended_has_no_reading():
    """It has no exit status."""
    with pytest.raises(NoReading, match="ended with: signal 9"):
        command_values(Ended(-9, b"42", b""), {})
