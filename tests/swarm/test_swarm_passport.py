"""Passports: only a worker with the same traffic, and of no other run, is let in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.errors import UsageError
from loadgate.exit_codes import ExitCode
from loadgate.swarm import passport
from loadgate.swarm.ask import ASK
from loadgate.swarm.fingerprint import Fingerprint

A, B = "a" * 64, "b" * 64
OWN = Fingerprint("1.2.3", {"staging.py": A, "words.txt": B}, A)
RUN = "load-20260101-000000"


def shown(own: Fingerprint | None = OWN, run: str = "", **changed: Any) -> dict[str, Any]:
    """Return the passport of a worker, as it comes out of its message."""
    return passport.passport_of(own, run) | changed


def test_a_worker_with_the_same_traffic_is_let_in() -> None:
    """Before the master has a run, and while it has one."""
    assert passport.judge(shown(), OWN, "") is None
    assert passport.judge(shown(), OWN, RUN) is None


def test_a_worker_of_this_run_is_let_in_again() -> None:
    """It lost its connection, or met the run's next master."""
    assert passport.judge(shown(run=RUN), OWN, RUN) is None


@pytest.mark.parametrize(("run", "said"), [("", "keeps none yet"), (RUN, f"keeps {RUN}")])
def test_a_worker_of_another_run_is_refused(run: str, said: str) -> None:
    """It still makes load for that run, or holds reports of it."""
    refusal = passport.judge(shown(run="soak-1"), OWN, run)
    assert refusal is not None
    assert refusal.message == f"this worker belongs to the run soak-1, the master {said}"
    assert refusal.exit_code == ExitCode.USAGE
    assert refusal.hint


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (Fingerprint("1.2.4", OWN.files, A), "Loadgate is 1.2.3 on the master and 1.2.4 on this worker"),
        (Fingerprint("1.2.3", OWN.files, B), "the code of Loadgate 1.2.3 differs"),
        (Fingerprint("1.2.3", {"staging.py": B, "words.txt": B}, A), "staging.py differs"),
        (Fingerprint("1.2.3", {"staging.py": A}, A), "words.txt is missing on this worker"),
        (Fingerprint("1.2.3", OWN.files | {"more.py": A}, A), "more.py is missing on the master"),
    ],
)
def test_every_difference_is_refused_in_words(theirs: Fingerprint, said: str) -> None:
    """With both fingerprints, so that two hosts can be compared by hand."""
    refusal = passport.judge(shown(theirs), OWN, "")
    assert refusal is not None
    assert said in refusal.message
    assert f"fingerprint {OWN.digest} on the master, {theirs.digest} here" in refusal.message
    assert refusal.exit_code == ExitCode.USAGE


names = st.sampled_from(["a.py", "b.py", "c.txt"])
fingerprints = st.builds(
    Fingerprint,
    st.sampled_from(["1.2.3", "1.2.4"]),
    st.dictionaries(names, st.sampled_from([A, B])),
    st.sampled_from(["", A, B]),
)


@given(fingerprints, fingerprints)
def test_a_worker_is_let_in_when_and_only_when_all_is_equal(mine: Fingerprint, theirs: Fingerprint) -> None:
    """Version, code, and every file."""
    assert (passport.judge(shown(theirs), mine, RUN) is None) == (mine == theirs)


def test_programs_without_a_locustfile_are_equal() -> None:
    """Neither has anything to compare."""
    assert passport.judge(shown(None), None, "") is None


@pytest.mark.parametrize(("theirs", "mine"), [(None, OWN), (OWN, None)])
def test_one_without_a_locustfile_cannot_be_compared(
    theirs: Fingerprint | None, mine: Fingerprint | None
) -> None:
    """Whichever of the two it is."""
    refusal = passport.judge(shown(theirs), mine, "")
    assert refusal is not None
    assert "cannot be compared" in refusal.message


@pytest.mark.parametrize("one", [passport.BEAT, ASK])
def test_beats_and_questions_are_let_in(one: dict[str, Any]) -> None:
    """They make no traffic: the worker's own connection is what is judged."""
    assert passport.judge(dict(one), OWN, RUN) is None


@pytest.mark.parametrize(
    "garbage",
    [
        {},
        {"kind": None},
        {"kind": "spy"},
        {"kind": ["beat"]},
        {"kind": {"beat": 1}},
        {"fingerprint": None, "run": ""},
        shown(run=RUN) | {"run": 7},
        shown() | {"run": None},
        shown() | {"run": [RUN]},
        shown() | {"fingerprint": "1.2.3"},
        shown() | {"fingerprint": {}},
        shown() | {"fingerprint": {"version": "1.2.3", "code": A, "files": {"/etc/passwd": A}}},
        shown() | {"fingerprint": OWN.to_wire() | {"more": 1}},
        shown() | {"fingerprint": OWN.to_wire() | {"files": {"staging.py": "xyz"}}},
    ],
)
def test_what_is_no_passport_is_an_error(garbage: dict[str, Any]) -> None:
    """Which the connection turns into a refusal; nothing unknown is let in by default."""
    with pytest.raises(UsageError) as caught:
        passport.judge(garbage, OWN, RUN)
    assert caught.value.hint


@pytest.mark.parametrize("kind", [None, "spy", 3])
def test_garbage_is_not_let_in_without_a_locustfile_either(kind: object) -> None:
    """A program's master has nothing to compare, and still knows what a worker looks like."""
    with pytest.raises(UsageError):
        passport.judge({"kind": kind}, None, "")


plain: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["kind", "run", "fingerprint", "host"])


@given(st.dictionaries(keys, plain | st.just("worker"), max_size=4))
def test_no_garbage_is_let_in_as_a_worker(garbage: dict[str, Any]) -> None:
    """Refused or an error, never silence and never another error."""
    try:
        refusal = passport.judge(garbage, OWN, RUN)
    except UsageError:
        return
    assert refusal is not None


def test_a_passport_is_plain_values() -> None:
    """It travels as such: what is read back is the same fingerprint."""
    told = shown(run=RUN)
    assert told["kind"] == "worker"
    assert Fingerprint.from_wire(told["fingerprint"]) == OWN
    assert all(isinstance(told[key], str) for key in ("host", "python", "run"))
    assert isinstance(told["pid"], int)


# -- where the locustfile lies ------------------------------------------------------------------


def environment_of(*files: str, locustfile: str | None = None) -> Any:
    return SimpleNamespace(parsed_locustfiles=list(files), locustfile=locustfile, user_classes=[])


def test_locustfiles_are_those_of_the_command_line_or_of_the_program() -> None:
    """In the order given; a program that made its environment itself may name one, or none."""
    assert passport.locustfiles_of(environment_of("a.py", "b.py")) == [Path("a.py"), Path("b.py")]
    assert passport.locustfiles_of(environment_of(locustfile="c.py")) == [Path("c.py")]
    assert passport.locustfiles_of(environment_of()) == []


def test_the_folder_of_a_locustfile_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever folder the process was started in."""
    monkeypatch.chdir(tmp_path)
    assert passport.folder_of_locustfile(environment_of("sub/a.py")) == tmp_path / "sub"
    assert passport.folder_of_locustfile(environment_of()) is None


def test_a_locustfile_is_named_from_its_project(tmp_path: Path) -> None:
    """The nearest folder that holds scenarios/; without one, by its name alone."""
    (tmp_path / "scenarios").mkdir()
    assert (
        passport.describe_locustfile([tmp_path / "locustfiles" / "deep" / "a.py"]) == "locustfiles/deep/a.py"
    )
    (tmp_path / "locustfiles" / "scenarios").mkdir(parents=True)
    assert passport.describe_locustfile([tmp_path / "locustfiles" / "a.py"]) == "a.py"
    assert passport.describe_locustfile([]) == ""


def test_a_fingerprint_covers_the_locustfile(tmp_path: Path) -> None:
    """Two processes with the same file are equal; another content is another fingerprint."""
    path = tmp_path / "traffic.py"
    path.write_text("x = 1\n", encoding="utf-8")
    first = passport.fingerprint_of(environment_of(str(path)))
    assert "traffic.py" in first.files
    assert passport.fingerprint_of(environment_of(str(path))) == first
    path.write_text("x = 2\n", encoding="utf-8")
    assert passport.fingerprint_of(environment_of(str(path))) != first
