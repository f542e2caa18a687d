"""What a worker must have in common with its master: taken from files, compared in words, never guessed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import loadgate
from loadgate.errors import UsageError
from loadgate.plan.plan import Plan
from loadgate.swarm.fingerprint import (
    MOST_BYTES,
    MOST_FILES,
    Fingerprint,
    differences,
    expect,
    fingerprint,
    named_files,
    resolve,
)

ROOT = Path(__file__).parents[2]
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""The SHA-256 of "abc" (FIPS 180-2, appendix B.1)."""
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

names = st.sampled_from(["staging.py", "emotion.py", "corpora/emotion.jsonl", "../data/x.csv", "ä b.py"])
hashes = st.sampled_from([ABC, EMPTY, hashlib.sha256(b"x").hexdigest()])
fingerprints = st.builds(
    Fingerprint,
    st.sampled_from(["0.1.0", "0.2.0"]),
    st.dictionaries(names, hashes, max_size=4),
    st.sampled_from(["", ABC, EMPTY]),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | hashes,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["version", "code", "files", "name", "sha256", "x"]), inner)
        | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def module(path: Path | str | None, name: str = "some") -> ModuleType:
    made = ModuleType(name)
    if path is not None:
        made.__file__ = str(path)
    return made


# -- taking it -----------------------------------------------------------------------------------


def test_files_are_named_from_the_locustfile_and_hashed(tmp_path: Path) -> None:
    """The locustfile, loaded modules beside and below it, and further files count; nothing else does."""
    write(
        tmp_path / "perf",
        {"staging.py": "abc", "emotion.py": "", "sub/checks.py": "abc", "not_loaded.py": ""},
    )
    write(tmp_path, {"other.py": "abc", "data/texts.jsonl": ""})
    folder = tmp_path / "perf"
    loaded = [module(folder / "emotion.py"), module(folder / "sub/checks.py"), module(tmp_path / "other.py")]
    taken = fingerprint([folder / "staging.py"], loaded, [tmp_path / "data" / "texts.jsonl"])
    assert taken.version == loadgate.__version__
    assert taken.files == {
        "staging.py": ABC,
        "emotion.py": EMPTY,
        "sub/checks.py": ABC,
        "../data/texts.jsonl": EMPTY,
    }


def test_the_place_of_the_folder_does_not_count(tmp_path: Path) -> None:
    """Equal files in unlike folders have equal fingerprints; one changed byte has another."""
    files = {"staging.py": "abc", "emotion.py": "x"}
    one, two = write(tmp_path / "a", files), write(tmp_path / "b" / "deep", files)
    taken = [fingerprint([f / "staging.py"], [module(f / "emotion.py")]) for f in (one, two)]
    assert taken[0] == taken[1]
    assert taken[0].digest == taken[1].digest
    (two / "emotion.py").write_text("y")
    changed = fingerprint([two / "staging.py"], [module(two / "emotion.py")])
    assert changed != taken[0]
    assert changed.digest != taken[0].digest


def test_a_second_locustfile_counts_wherever_it_lies(tmp_path: Path) -> None:
    """Its name is relative to the folder of the first."""
    write(tmp_path, {"a/one.py": "abc", "b/two.py": ""})
    taken = fingerprint([tmp_path / "a/one.py", tmp_path / "b/two.py"], [])
    assert taken.files == {"one.py": ABC, "../b/two.py": EMPTY}


def test_modules_without_a_file_and_the_started_program_do_not_count(tmp_path: Path) -> None:
    """Namespace packages, made-up files, and `__main__`, which may be another program on the master."""
    write(tmp_path, {"staging.py": "abc", "start.py": "x"})
    loaded = [
        module(None),
        module("<string>"),
        module(tmp_path / "start.py", "__main__"),
        None,
        object(),
    ]
    assert fingerprint([tmp_path / "staging.py"], loaded).files == {"staging.py": ABC}  # type: ignore[arg-type]


def test_an_environment_below_the_folder_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project may keep its virtual environment beside its locustfile."""
    write(tmp_path, {"locustfile.py": "abc", "own.py": "", ".venv/lib/numpy/__init__.py": "x"})
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    loaded = [module(tmp_path / "own.py"), module(tmp_path / ".venv/lib/numpy/__init__.py")]
    assert fingerprint([tmp_path / "locustfile.py"], loaded).files == {"locustfile.py": ABC, "own.py": EMPTY}


def test_a_locustfile_within_the_environment_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped locustfiles lie inside the installed package, and are files of the run all the same."""
    folder = write(tmp_path / "site-packages" / "x" / "templates", {"staging.py": "abc", "emotion.py": ""})
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    taken = fingerprint([folder / "staging.py"], [module(folder / "emotion.py")])
    assert taken.files == {"staging.py": ABC, "emotion.py": EMPTY}


def test_loadgate_itself_is_no_file_of_the_run() -> None:
    """Which of its modules are loaded differs between master and worker; its code counts as a whole."""
    taken = fingerprint([ROOT / "locustfiles" / "staging.py"], [])
    beside = fingerprint([ROOT / "pyproject.toml"], [sys.modules["loadgate.errors"]])
    assert set(beside.files) == {"pyproject.toml"}
    assert taken.code == beside.code != ""


def test_a_folder_of_links_gives_the_names_of_the_links(tmp_path: Path) -> None:
    """A mounted volume links each file into a layer whose name differs on every host."""
    taken = []
    for host, layer in (("a", "..2026_01"), ("b", "..2026_02")):
        folder = tmp_path / host
        write(folder / layer, {"staging.py": "abc", "emotion.py": "", "texts.jsonl": "x"})
        for name in ("staging.py", "emotion.py", "texts.jsonl"):
            (folder / name).symlink_to(Path(layer) / name)
        # A corpus follows the link of the file that declares it.
        corpus = (folder / "emotion.py").resolve().parent / "texts.jsonl"
        taken.append(fingerprint([folder / "staging.py"], [module(folder / "emotion.py")], [corpus]))
    assert taken[0] == taken[1]
    assert set(taken[0].files) == {"staging.py", "emotion.py", "texts.jsonl"}


def test_a_link_to_a_file_elsewhere_is_named_by_the_link(tmp_path: Path) -> None:
    """Where a store keeps each file in a place of its own, the link is what the locustfile imports."""
    write(tmp_path, {"perf/staging.py": "abc", "store/f00/emotion.py": ""})
    (tmp_path / "perf/emotion.py").symlink_to(tmp_path / "store/f00/emotion.py")
    taken = fingerprint([tmp_path / "perf/staging.py"], [module(tmp_path / "perf/emotion.py")])
    assert taken.files == {"staging.py": ABC, "emotion.py": EMPTY}


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A loaded module whose file is gone cannot be compared, so nothing is claimed of it."""
    write(tmp_path, {"staging.py": "abc"})
    with pytest.raises(UsageError, match=r"gone\.py cannot be read"):
        fingerprint([tmp_path / "staging.py"], [module(tmp_path / "gone.py")])
    with pytest.raises(UsageError, match="no locustfile"):
        fingerprint([], [])


def test_too_many_files_are_an_error(tmp_path: Path) -> None:
    """More than a worker's first message can hold is refused where it is taken, with the remedy."""
    # 72 bytes for each hash and 10 for each name: 49,152 / 82 = 599.4 files.
    write(tmp_path, {f"part{number:03}.py": "" for number in range(600)})
    paths = [tmp_path / f"part{number:03}.py" for number in range(600)]
    with pytest.raises(UsageError, match="600 files") as caught:
        fingerprint(paths[:1], [module(path) for path in paths])
    assert "folder of its own" in caught.value.hint
    assert len(fingerprint(paths[:1], [module(path) for path in paths[:599]]).files) == 599


def test_a_locustfile_as_locust_loads_it(tmp_path: Path) -> None:
    """In a process of its own: the shipped traffic is its four files beside `staging.py`."""
    code = (
        "import json, sys; from pathlib import Path\n"
        "from locust.util.load_locustfile import load_locustfile\n"
        "load_locustfile(sys.argv[1])\n"
        "from loadgate.swarm.fingerprint import fingerprint\n"
        "print(json.dumps(sorted(fingerprint([Path(sys.argv[1])]).files)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "locustfiles" / "staging.py")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=tmp_path,
    )
    expected = ["checks.py", "creative.py", "emotion.py", "reasoning.py", "staging.py"]
    assert json.loads(done.stdout.splitlines()[-1]) == expected


# -- comparing -----------------------------------------------------------------------------------


def test_differences_are_told_in_words() -> None:
    """Which version, which file is missing where, which one differs; each with the hashes there are."""
    mine = Fingerprint("0.1.0", {"a.py": ABC, "b.py": ABC, "c.py": ABC})
    theirs = Fingerprint("0.2.0", {"a.py": EMPTY, "c.py": ABC, "d.py": EMPTY})
    assert differences(mine, theirs) == [
        "Loadgate is 0.1.0 on the master and 0.2.0 on this worker",
        "a.py differs: ba7816bf8f01 on the master, e3b0c44298fc on this worker",
        "b.py is missing on this worker (ba7816bf8f01 on the master)",
        "d.py is missing on the master (e3b0c44298fc on this worker)",
    ]
    assert differences(Fingerprint("0.1.0", {}, ABC), Fingerprint("0.1.0", {}, ""), "the master", "w2") == [
        "the code of Loadgate 0.1.0 differs: ba7816bf8f01 on the master, unknown on w2"
    ]


@given(mine=fingerprints, theirs=fingerprints)
def test_no_difference_means_equal(mine: Fingerprint, theirs: Fingerprint) -> None:
    """Nothing is said when, and only when, the two are equal; the digests agree with that."""
    assert (differences(mine, theirs) == []) == (mine == theirs)
    assert (mine.digest == theirs.digest) == (mine == theirs)
    assert len(differences(mine, theirs)) == len(differences(theirs, mine))


# -- on the wire ---------------------------------------------------------------------------------


@given(taken=fingerprints)
def test_the_wire_gives_it_back(taken: Fingerprint) -> None:
    """Through plain values, as JSON would carry them."""
    assert Fingerprint.from_wire(json.loads(json.dumps(taken.to_wire()))) == taken


@given(data=plain)
def test_anything_else_is_refused(data: object) -> None:
    """Whatever arrives is either exactly what `to_wire` writes or a UsageError; nothing else is raised."""
    try:
        taken = Fingerprint.from_wire(data)
    except UsageError:
        return
    assert taken.to_wire() == data


@pytest.mark.parametrize(
    "change",
    [
        {"version": ""},
        {"version": "1\n2"},
        {"version": "1" * 101},
        {"version": 1},
        {"code": "abc"},
        {"code": None},
        {"files": [["a.py", ABC]]},
        {"files": {"a.py": ABC.upper()}},
        {"files": {"a.py": ABC[:-1]}},
        {"files": {"a.py": None}},
        {"files": {"/a.py": ABC}},
        {"files": {"": ABC}},
        {"files": {"..": ABC}},
        {"files": {"a\x1b[31m.py": ABC}},
        {"files": {"a\ud800.py": ABC}},
        {"files": {b"a.py": ABC}},
        {"files": {"a" * 1025: ABC}},
        {"files": {f"{number}": ABC for number in range(MOST_FILES + 1)}},
        {"files": {f"{number:0200}": ABC for number in range(MOST_BYTES // 272 + 1)}},
        {"more": 1},
    ],
    ids=str,
)
def test_a_fingerprint_that_is_none_is_refused(change: dict[str, object]) -> None:
    """Each part is checked: type, form, length and number."""
    with pytest.raises(UsageError, match="not a fingerprint"):
        Fingerprint.from_wire({"version": "0.1.0", "code": "", "files": {"a.py": ABC}} | change)


# -- files that the plan names -------------------------------------------------------------------


def plan(folder: Path, *, trace: str | None = None, ca: str | None = None) -> Plan:
    """Make a plan as the master has it, with paths below its own folder."""
    traffic: dict[str, object] = (
        {"arrivals": "trace", "trace": str(folder / trace)}
        if trace
        else {"stages": [{"rate": 10.0, "hold": 5.0}]}
    )
    scenario = {
        "name": "load",
        "locustfile": str(folder / "locustfiles" / "staging.py"),
        "host": "http://127.0.0.1:3000",
        "traffic": {"users": 5, **traffic},
        "http": {"ca": str(folder / ca)} if ca else {},
    }
    return Plan.model_validate({"scenario": scenario})


def test_the_files_that_a_worker_reads_are_named_from_the_locustfile(tmp_path: Path) -> None:
    """The trace and the certificate authority, and no others; without them there is nothing to have."""
    write(tmp_path, {"scenarios/arrivals.csv": "abc", "locustfiles/ca.pem": ""})
    full = plan(tmp_path, trace="scenarios/arrivals.csv", ca="locustfiles/ca.pem")
    base = tmp_path / "locustfiles"
    assert named_files(full, base) == {
        "../scenarios/arrivals.csv": tmp_path / "scenarios/arrivals.csv",
        "ca.pem": tmp_path / "locustfiles/ca.pem",
    }
    assert expect(full, base) == {
        "traffic.trace": {"name": "../scenarios/arrivals.csv", "sha256": ABC},
        "http.ca": {"name": "ca.pem", "sha256": EMPTY},
    }
    bare = plan(tmp_path)
    assert named_files(bare, base) == expect(bare, base) == {}
    assert resolve(bare, {}, base) == bare


def test_a_worker_uses_its_own_files(tmp_path: Path) -> None:
    """The copy of the plan differs in the paths alone, and its timeline is read from the worker's trace."""
    files = {"scenarios/arrivals.csv": "0.0\n0.5\n2.0\n", "scenarios/ca.pem": "x"}
    master, worker = write(tmp_path / "master", files), write(tmp_path / "w" / "deep", files)
    (worker / "locustfiles").mkdir()
    of_master = plan(master, trace="scenarios/arrivals.csv", ca="scenarios/ca.pem")
    wanted = expect(of_master, master / "locustfiles")
    assert of_master.timeline.end == pytest.approx(2.0)
    (master / "scenarios/arrivals.csv").unlink()
    own = resolve(Plan.from_json(of_master.to_json()), wanted, worker / "locustfiles")
    assert own.scenario.traffic.trace == worker / "scenarios/arrivals.csv"
    assert own.scenario.http.ca == worker / "scenarios/ca.pem"
    assert own.timeline.end == pytest.approx(2.0)
    back = own.to_json().decode().replace(str(worker), str(master))
    assert back == of_master.to_json().decode().replace(str(worker), str(master))


def test_a_missing_file_keeps_the_worker_out(tmp_path: Path) -> None:
    """The reason names the key of the plan, the file on this host and the master's hash."""
    write(tmp_path / "master", {"arrivals.csv": "abc"})
    master = plan(tmp_path / "master", trace="arrivals.csv")
    wanted = expect(master, tmp_path / "master" / "locustfiles")
    with pytest.raises(
        UsageError, match=r"w/arrivals\.csv cannot be read.*ba7816bf8f01 on the master"
    ) as caught:
        resolve(master, wanted, tmp_path / "w" / "locustfiles")
    assert "../arrivals.csv" in caught.value.hint


def test_a_file_that_differs_keeps_the_worker_out(tmp_path: Path) -> None:
    """Both hashes are shown; equal names do not make equal files."""
    write(tmp_path / "master", {"ca.pem": "abc"})
    write(tmp_path / "w", {"ca.pem": ""})
    master = plan(tmp_path / "master", ca="ca.pem")
    wanted = expect(master, tmp_path / "master")
    with pytest.raises(UsageError, match=r"http\.ca.*ba7816bf8f01 on the master, e3b0c44298fc here"):
        resolve(master, wanted, tmp_path / "w")


def test_the_master_cannot_begin_with_a_file_that_is_gone(tmp_path: Path) -> None:
    """What is not on its own disk cannot be asked of a worker."""
    with pytest.raises(UsageError, match=r"ca\.pem cannot be read"):
        expect(plan(tmp_path, ca="ca.pem"), tmp_path)


@pytest.mark.parametrize(
    "wanted",
    [
        None,
        {},
        {"traffic.trace": {"name": "ca.pem", "sha256": ABC}},
        {"http.ca": {"name": "ca.pem", "sha256": ABC}, "more": {"name": "x", "sha256": ABC}},
        {"http.ca": "ca.pem"},
        {"http.ca": {"name": "ca.pem"}},
        {"http.ca": {"name": "/etc/ca.pem", "sha256": ABC}},
        {"http.ca": {"name": "ca.pem", "sha256": "abc"}},
        {"http.ca": {"name": 1, "sha256": ABC}},
    ],
    ids=str,
)
def test_what_the_master_said_is_checked(tmp_path: Path, wanted: object) -> None:
    """A file that the plan names and the master did not speak of is never taken unseen."""
    write(tmp_path, {"ca.pem": "abc"})
    with pytest.raises(UsageError, match="what the master said"):
        resolve(plan(tmp_path, ca="ca.pem"), wanted, tmp_path)


@given(data=plain)
def test_no_word_of_the_master_breaks_a_worker(data: object) -> None:
    """Whatever arrives in the place of the wanted files is used as meant or is a UsageError."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), {"ca.pem": "abc"})
        with pytest.raises(UsageError):
            resolve(plan(Path(folder), ca="ca.pem"), data, Path(folder))


@given(
    contents=st.tuples(st.binary(max_size=4), st.binary(max_size=4)),
    places=st.tuples(*[st.sampled_from(["", "locustfiles/", "scenarios/deep/", "../side/"])] * 2),
)
def test_only_equal_contents_are_accepted(contents: tuple[bytes, bytes], places: tuple[str, str]) -> None:
    """A worker with the master's files takes the plan; with one other byte in either, it does not."""
    with tempfile.TemporaryDirectory() as folder:
        hosts = [Path(folder, host, "perf") for host in ("m", "w")]
        named = (f"{places[0]}trace.csv", f"{places[1]}ca.pem")
        for host, trace in zip(hosts, (b"abc", contents[0]), strict=True):
            for name, content in ((named[0], trace), (named[1], contents[1])):
                path = host / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            (host / "locustfiles").mkdir(exist_ok=True)
        master = plan(hosts[0], trace=named[0], ca=named[1])
        wanted = expect(master, hosts[0] / "locustfiles")
        if contents[0] == b"abc":
            own = resolve(master, wanted, hosts[1] / "locustfiles")
            assert own.scenario.traffic.trace is not None
            assert own.scenario.traffic.trace.samefile(hosts[1] / named[0])
        else:
            with pytest.raises(UsageError):
                resolve(master, wanted, hosts[1] / "locustfiles")
