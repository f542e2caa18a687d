"""The order in which the gate takes the test files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from longest_first import SECONDS, longest_first

HERE = Path(__file__).parent
LONGER, LONG = list(SECONDS)[:2]


@dataclass(frozen=True)
class Case:
    """A test as the order sees it."""

    path: Path
    number: int
    system: bool = False

    def get_closest_marker(self, name: str) -> object:
        return name if self.system and name == "system" else None


NAMES = st.sampled_from([LONGER, LONG, "test_a", "test_b"])
TESTS = st.builds(Case, NAMES.map(Path), st.integers(), st.booleans())


@given(st.lists(TESTS))
def test_the_same_tests_run(tests: list[Case]) -> None:
    """Each as often as before, those of a file together and in their order."""
    ordered = longest_first(tests)
    assert len(ordered) == len(tests)
    for path in {test.path for test in tests}:
        places = [place for place, test in enumerate(ordered) if test.path == path]
        assert places == list(range(places[0], places[0] + len(places)))
        assert [ordered[place] for place in places] == [test for test in tests if test.path == path]


def test_files_that_start_processes_come_first_and_long_ones_before_short_ones() -> None:
    """One test that starts processes makes its file one of them; files of one cost stay as they were."""
    short, long, longer = (Path(f"{name}.py") for name in ("test_a", LONG, LONGER))
    other, pure = Path("test_b.py"), Path("test_c.py")
    tests = [Case(pure, 1), Case(short, 2), Case(short, 3, system=True), Case(long, 4, system=True)]
    tests += [Case(longer, 5, system=True), Case(other, 6, system=True)]
    assert [test.number for test in longest_first(tests)] == [5, 4, 2, 3, 6, 1]


def test_a_long_file_that_only_computes_comes_after_those_that_start_processes() -> None:
    """And before the short ones of its kind."""
    tests = [Case(Path("test_c.py"), 1), Case(Path(f"{LONG}.py"), 2), Case(Path("test_a.py"), 3, system=True)]
    assert [test.number for test in longest_first(tests)] == [3, 2, 1]


def test_the_table_names_files_that_are_there() -> None:
    """The longest first, as it is read."""
    assert set(SECONDS) <= {path.stem for path in HERE.rglob("test_*.py")}
    assert list(SECONDS.values()) == sorted(SECONDS.values(), reverse=True)
