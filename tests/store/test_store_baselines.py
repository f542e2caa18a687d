"""Baselines: what is kept of a run, and sets of them that are whole or refused, and never changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.errors import StoreError
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window, windows_merged
from loadgate.store.baselines import Baselines, baselines_root, publish
from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder, create_run
from loadgate.store.kept import MOST_PARTS, KeptRun, keep, parts_of

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
VERDICT: dict[str, Any] = {
    "verdict": "PASS",
    "void": False,
    "running": False,
    "ended": "planned",
    "reasons": [],
    "steady_seconds": 3.0,
    "steady_seconds_planned": 3.0,
    "steady": [{"start": 0.0, "end": 3.0}],
}


@pytest.fixture
def run(tmp_path: Path, build: SimpleNamespace) -> RunFolder:
    """Store a run of three steady seconds of two endpoints, with a warm-up before."""
    folder = create_run(tmp_path / "results", "load", NOW)
    windows = [build.window(0, [9_000], phase="warmup")]
    windows += [build.window(second, [1_000, 2_000], "emotion") for second in range(3)]
    windows += [build.window(second, [5_000], "creative") for second in range(3)]
    with open_writer(folder.database) as writer:
        values = {"id": folder.id, "model": "open", "host": "http://127.0.0.1:1", "plan": {"version": 1}}
        writer.commit([build.delta(1, windows, run=folder.id)], run_values=values)
    return folder


@pytest.fixture
def kept(run: RunFolder) -> KeptRun:
    """Give what is kept of that run."""
    return keep(run, VERDICT)


@pytest.fixture
def baselines(tmp_path: Path) -> Baselines:
    """Give an empty folder of baselines, that does not exist yet."""
    return Baselines(tmp_path / "baselines")


# ---- what is kept


def test_the_steady_phase_is_kept_to_the_last_request(kept: KeptRun) -> None:
    """The parts merge to what was measured; the warm-up is not among them."""
    whole = windows_merged(kept.parts["emotion"])
    expected = Histogram()
    expected.record_many([1_000, 2_000] * 3)
    assert whole.histogram("response.ok") == expected
    assert whole.counts["ok"] == 6
    assert sorted(kept.parts) == ["creative", "emotion"]


def test_conditions_and_plan_are_kept(kept: KeptRun) -> None:
    """As the run database has them; what is not there is null."""
    assert (kept.values["model"], kept.values["machine"], kept.plan) == ("open", None, {"version": 1})
    assert (kept.seconds, kept.steady) == (3.0, ((0.0, 3.0),))


def test_a_kept_run_survives_its_wire(kept: KeptRun) -> None:
    """What is read back is equal, histograms and all."""
    again = KeptRun.from_wire(kept.to_wire())
    assert (again.id, again.verdict, again.plan, again.values) == (
        kept.id,
        kept.verdict,
        kept.plan,
        kept.values,
    )
    for name, parts in kept.parts.items():
        assert windows_merged(again.parts[name]).histograms == windows_merged(parts).histograms
        assert [part.second for part in again.parts[name]] == [part.second for part in parts]


@pytest.mark.parametrize(
    "spoilt",
    [
        {"void": "no"},
        {"steady": None},
        {"steady_seconds": None},
        {"verdict": None},
        {"steady_seconds": float("nan")},
    ],
)
def test_a_damaged_verdict_is_refused(run: RunFolder, spoilt: dict[str, Any]) -> None:
    """It says whether the run may be compared at all, so it is never guessed."""
    with pytest.raises(StoreError, match="is damaged"):
        keep(run, {**VERDICT, **spoilt})


@pytest.mark.parametrize("spoilt", [None, [], {"id": "r"}, {"parts": {"emotion": [[0, 0, {}, b""]]}}])
def test_a_damaged_kept_run_is_refused(kept: KeptRun, spoilt: Any) -> None:
    """Whatever is in its place."""
    data = {**kept.to_wire(), **spoilt} if isinstance(spoilt, dict) and "parts" in spoilt else spoilt
    with pytest.raises(StoreError):
        KeptRun.from_wire(data)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 2_000), st.integers(1, 5))
def test_parts_are_few_and_lose_nothing(seconds: int, per_second: int) -> None:
    """At most 241 of them (the first may be cut by its second), as long as each other, the same in sum."""
    windows = [
        Window(second + 7, 1, "emotion", "steady", {"arrivals": per_second, "ok": per_second})
        for second in range(seconds)
    ]
    parts = parts_of(windows, float(seconds))["emotion"]
    assert len(parts) <= MOST_PARTS + 1
    assert sum(part.counts["ok"] for part in parts) == seconds * per_second
    assert (parts[0].second, parts[-1].end) == (7, 7 + seconds)
    assert len({part.span for part in parts[1:-1]}) <= 1


def test_compacted_windows_stay_whole() -> None:
    """A window of 60 s is longer than a part, and is one."""
    windows = [Window(second, 60, "emotion", "steady", {"ok": 1}) for second in range(0, 300, 60)]
    assert [part.span for part in parts_of(windows, 300.0)["emotion"]] == [60] * 5


# ---- sets of them


def test_what_is_promoted_is_what_is_loaded(baselines: Baselines, kept: KeptRun) -> None:
    """With its name, its moment and what was overruled."""
    made = baselines.promote("main", [kept], now=NOW, forced=["r ended FAIL"])
    read = baselines.load("main")
    assert (read.label, read.made_at, read.forced) == (
        "main@1",
        "2026-01-05T08:00:00+00:00",
        ("r ended FAIL",),
    )
    assert (made.label, [one.id for one in read.runs]) == ("main@1", [kept.id])
    assert read.age(NOW + timedelta(hours=1)) == 3600.0


def test_promoting_again_adds_a_generation(baselines: Baselines, kept: KeptRun) -> None:
    """The first one stays, to the byte; the newest is the one that a name means."""
    baselines.promote("main", [kept], now=NOW)
    first = (baselines.root / "main" / "1.baseline").read_bytes()
    assert baselines.promote("main", [kept], now=NOW).generation == 2
    assert (baselines.root / "main" / "1.baseline").read_bytes() == first
    assert baselines.generations("main") == [1, 2]
    assert (baselines.load("main").generation, baselines.load("main", 1).generation) == (2, 1)


def test_a_name_that_is_taken_at_the_same_moment_is_not_overwritten(tmp_path: Path) -> None:
    """A file is published once; the second writer is told, and leaves no draft."""
    path = tmp_path / "a" / "1.baseline"
    assert publish(b"one", path)
    assert not publish(b"two", path)
    assert path.read_bytes() == b"one"
    assert os.listdir(path.parent) == ["1.baseline"]


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up", "a b", "a@1", "x" * 81])
def test_a_name_that_could_lead_elsewhere_is_refused(baselines: Baselines, kept: KeptRun, name: str) -> None:
    """Names are names of folders, and "@" is for generations."""
    with pytest.raises(StoreError, match="is not a name"):
        baselines.promote(name, [kept], now=NOW)
    assert baselines.generations(name) == []


def test_a_missing_baseline_names_what_comes_near(baselines: Baselines, kept: KeptRun) -> None:
    """And a missing generation those that are there."""
    baselines.promote("main", [kept], now=NOW)
    with pytest.raises(StoreError, match="there is no baseline 'mian'") as caught:
        baselines.load("mian")
    assert caught.value.hint == "did you mean main?"
    with pytest.raises(StoreError, match="there is no main@7") as missing:
        baselines.load("main", 7)
    assert missing.value.hint == "there is main@1"


def test_a_set_needs_a_run(baselines: Baselines) -> None:
    """An empty baseline would have nothing to be compared with."""
    with pytest.raises(StoreError, match="1 to 100 runs, not 0"):
        baselines.promote("main", [], now=NOW)


def test_removing_takes_one_generation_or_all(baselines: Baselines, kept: KeptRun) -> None:
    """The folder goes with the last one."""
    for _ in range(3):
        baselines.promote("main", [kept], now=NOW)
    assert [path.name for path in baselines.remove("main", 2)] == ["2.baseline"]
    assert baselines.generations("main") == [1, 3]
    baselines.remove("main")
    assert (baselines.names(), (baselines.root / "main").exists()) == ([], False)
    with pytest.raises(StoreError, match="there is no baseline"):
        baselines.remove("main")


# ---- what is damaged, or of another version


def resealed(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return a generation with another content and a checksum that fits it."""
    content = change(data.partition(b"\n")[2])
    return b"loadgate-baseline 1 " + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda data: data.replace(b"loadgate-baseline 1", b"loadgate-baseline 2", 1),
            "the format's version 2",
        ),
        (lambda data: data[:-1], "checksum"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "checksum"),
        (lambda _: b"", "is no baseline"),
        (lambda _: b"SQLite format 3\0", "is no baseline"),
        (
            lambda data: resealed(data, lambda content: content.replace(b'"main"', b'"miin"', 1)),
            "under another name",
        ),
        (lambda data: resealed(data, lambda content: content[: content.find(b"\n") + 1]), "cut short"),
        (lambda data: resealed(data, lambda content: content[:-4]), "is damaged"),
        (lambda data: resealed(data, lambda _: b"{}\n"), "is damaged"),
    ],
)
def test_a_spoilt_generation_is_refused(
    baselines: Baselines, kept: KeptRun, spoil: Callable[[bytes], bytes], reason: str
) -> None:
    """Cut, changed, of another version or another's: an error with the reason, never an empty set."""
    baselines.promote("main", [kept], now=NOW)
    path = baselines.root / "main" / "1.baseline"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(StoreError, match=reason):
        baselines.load("main")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_changed_byte_goes_unseen(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Wherever it is, the generation is refused."""
    kept = KeptRun("r", VERDICT, None, {}, {})
    baselines = Baselines(tmp_path_factory.mktemp("baselines"))
    baselines.promote("main", [kept], now=NOW)
    path = baselines.root / "main" / "1.baseline"
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(StoreError):
        baselines.load("main")


# ---- calibrations


def test_calibrations_are_kept_beside_each_other(baselines: Baselines) -> None:
    """The newest first; none is overwritten."""
    for number in (1, 2):
        path = baselines.add_calibration("gate", {"number": number})
        os.utime(path, (number, number))
    assert [content["number"] for _, content in baselines.calibrations()] == [2, 1]
    assert baselines.names() == []


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda sealed: {**sealed, "format": 2}, "the format's version 2"),
        (lambda sealed: {**sealed, "content": {"number": 9}}, "checksum"),
        (lambda _: {}, "is no calibration"),
        (lambda _: [], "is no calibration"),
    ],
)
def test_a_spoilt_calibration_is_refused(
    baselines: Baselines, spoil: Callable[[Any], Any], reason: str
) -> None:
    """Left out in silence it would make comparisons less careful."""
    path = baselines.add_calibration("gate", {"number": 1})
    path.write_text(json.dumps(spoil(json.loads(path.read_bytes()))), encoding="utf-8")
    with pytest.raises(StoreError, match=reason):
        list(baselines.calibrations())


def test_where_baselines_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option, then the variable, then beside the results."""
    monkeypatch.delenv("LOADGATE_BASELINES", raising=False)
    assert baselines_root(None, Path("project/results")) == Path("project/baselines")
    monkeypatch.setenv("LOADGATE_BASELINES", "/kept")
    assert baselines_root(None, Path("project/results")) == Path("/kept")
    assert baselines_root("mine", Path("project/results")) == Path("mine")
