"""The campaign's book: whatever is done to it behind its back is found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.errors import StoreError, UsageError
from loadgate.store import campaign as store
from loadgate.store.campaign import (
    CampaignWriter,
    Head,
    Stamp,
    campaigns,
    find_campaign,
    head_of,
    origin,
    read_entries,
    sealed,
    verify_chain,
)

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
PAGE = Path(__file__).parents[2] / "docs" / "campaign.md"


def stamp(hours: int = 0) -> Stamp:
    """Return a moment of the tests."""
    return Stamp(START + timedelta(hours=hours), "boot", 100.0 + hours * 3600)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A book of five entries."""
    folder = tmp_path / "campaign" / "staging"
    with CampaignWriter(folder, new=True) as writer:
        for number in range(5):
            writer.append("attest", {"line": f"line-{number}", "note": "seen"}, stamp(number))
    return folder


def tamper(folder: Path, *statements: str) -> None:
    """Change the database past its triggers."""
    with sqlite3.connect(folder / "campaign.db") as connection:
        connection.execute("DROP TRIGGER IF EXISTS entry_stays")
        connection.execute("DROP TRIGGER IF EXISTS entry_remains")
        for statement in statements:
            connection.execute(statement)


def test_what_was_written_is_read_back(book: Path) -> None:
    """In order, with time and content."""
    entries = read_entries(book)
    assert [(entry.seq, entry.content["line"]) for entry in entries] == [
        (n + 1, f"line-{n}") for n in range(5)
    ]
    assert entries[2].at == START + timedelta(hours=2)
    assert verify_chain(book) == []


def test_an_entry_seals_the_one_before() -> None:
    """The hash is SHA-256 over the JSON list of the hash before and the columns."""
    import hashlib

    text = b'["' + b"0" * 64 + b'",1,"T","b",1.5,"note","{}"]'
    assert sealed(1, "T", "b", 1.5, "note", "{}", "0" * 64) == hashlib.sha256(text).hexdigest()


def test_books_of_two_campaigns_begin_apart() -> None:
    """An entry of one cannot stand first in the other."""
    assert origin("staging") != origin("other")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "UPDATE entry SET content = replace(content, 'seen', 'sent') WHERE seq = 3",
            "entry 3 (attest) was changed",
        ),
        (
            "UPDATE entry SET at = '2026-01-06T00:00:00.000+00:00' WHERE seq = 2",
            "entry 2 (attest) was changed",
        ),
        ("UPDATE entry SET kind = 'sign-off' WHERE seq = 1", "entry 1 (sign-off) was changed"),
        ("UPDATE entry SET monotonic = 0 WHERE seq = 4", "entry 4 (attest) was changed"),
        ("DELETE FROM entry WHERE seq = 3", "entry 3 is missing"),
        ("DELETE FROM entry WHERE seq = 1", "entry 1 is missing"),
        ("DELETE FROM entry WHERE seq > 3", "the recorded head is entry 5, and the book ends at 3"),
        ("DELETE FROM entry", "the recorded head is entry 5, and the book ends at 0"),
    ],
)
def test_a_change_is_named(book: Path, statement: str, told: str) -> None:
    """Edits of any column, gaps, and a cut."""
    tamper(book, statement)
    (fault,) = verify_chain(book)
    assert fault.startswith(told)


def test_reordering_is_named(book: Path) -> None:
    """Entries 2 and 3 change places."""
    tamper(
        book,
        "UPDATE entry SET seq = 99 WHERE seq = 2",
        "UPDATE entry SET seq = 2 WHERE seq = 3",
        "UPDATE entry SET seq = 3 WHERE seq = 99",
    )
    assert verify_chain(book) == ["entry 2 does not follow entry 1"]


def test_a_book_that_was_written_anew_differs_from_a_kept_head(book: Path, tmp_path: Path) -> None:
    """Its chain holds; only the head that somebody kept tells."""
    kept = head_of(book)
    for name in ("campaign.db", "head"):
        (book / name).unlink()
    with CampaignWriter(book, new=True) as writer:
        for number in range(5):
            writer.append("attest", {"line": f"line-{number}", "note": "forged"}, stamp(number))
    assert verify_chain(book) == []
    assert verify_chain(book, kept) == [
        "the head that was kept has another hash of entry 5: the book was written anew"
    ]


@pytest.mark.parametrize("head", [None, "what?"])
def test_a_book_that_was_removed_is_not_begun_anew(book: Path, head: str | None) -> None:
    """Its head tells that there was one, also where it cannot be read; nothing is written."""
    (book / "campaign.db").unlink()
    if head is not None:
        (book / "head").write_text(head)
    before = (book / "head").read_text()
    with pytest.raises(StoreError, match="is gone, and `head` beside it tells of"):
        CampaignWriter(book, new=True)
    assert not (book / "campaign.db").exists()
    assert (book / "head").read_text() == before


def test_a_missing_head_is_named(book: Path) -> None:
    """It is written before the first entry, so a book always has one."""
    (book / "head").unlink()
    assert verify_chain(book) == ["the file `head` is missing"]


def test_a_crash_between_entry_and_head_is_no_fault(book: Path) -> None:
    """The head is then that of an earlier entry, which the book still holds."""
    entry = read_entries(book)[3]
    (book / "head").write_text(f"{Head(4, entry.hash)}\n")
    assert verify_chain(book) == []


def test_the_head_of_an_empty_book_is_held_against_it(book: Path) -> None:
    """It is that of the campaign's name; another one is of another book."""
    assert verify_chain(book, Head(0, origin("staging"))) == []
    (fault,) = verify_chain(book, Head(0, "0" * 64))
    assert fault == "the head that was kept has another hash of entry 0: the book was written anew"


def test_an_entry_that_is_added_during_a_check_is_no_fault(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two things that are read somebody writes entry 6: the head of before it is still one."""
    rows = store._rows

    def and_then(folder: Path) -> object:
        found = rows(folder)
        monkeypatch.setattr(store, "_rows", rows)
        with CampaignWriter(folder) as writer:
            writer.append("attest", {}, stamp(9))
        return found

    monkeypatch.setattr(store, "_rows", and_then)
    assert verify_chain(book) == []
    assert len(read_entries(book)) == 6


def test_nothing_is_added_to_a_changed_book(book: Path) -> None:
    """The writer refuses, with the fault."""
    tamper(book, "UPDATE entry SET kind = 'x' WHERE seq = 1")
    with pytest.raises(StoreError, match=r"not as it was written: entry 1 \(x\) was changed"):
        CampaignWriter(book)


def test_one_process_writes(book: Path) -> None:
    """A second writer is refused while the first one holds the book, and not after."""
    with CampaignWriter(book), pytest.raises(StoreError, match="is writing it"):
        CampaignWriter(book)
    CampaignWriter(book).close()


@pytest.mark.parametrize("statement", ["UPDATE entry SET kind = 'x'", "DELETE FROM entry"])
def test_the_database_itself_refuses_mistakes(book: Path, statement: str) -> None:
    """Triggers stand against a careless hand."""
    with (
        sqlite3.connect(book / "campaign.db") as connection,
        pytest.raises(sqlite3.IntegrityError, match="never"),
    ):
        connection.execute(statement)


def test_entries_of_one_moment_are_written_all_or_none(book: Path) -> None:
    """One that cannot be stored takes the others with it."""
    with CampaignWriter(book) as writer, pytest.raises(StoreError, match="cannot be stored as JSON"):
        writer.extend([("note", {"a": 1}), ("note", {"a": object()})], stamp(9))
    assert len(read_entries(book)) == 5
    assert verify_chain(book) == []


@settings(max_examples=15)
@given(
    st.lists(
        st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False)), max_size=5
    )
)
def test_any_content_is_sealed_as_it_is_read(tmp_path_factory, contents: list[dict[str, float]]) -> None:
    """Whatever JSON can say, the chain holds over it."""
    folder = tmp_path_factory.mktemp("book") / "any"
    with CampaignWriter(folder, new=True) as writer:
        writer.extend([("note", content) for content in contents], stamp())
    assert [entry.content for entry in read_entries(folder)] == contents
    assert verify_chain(folder) == []


def test_a_head_is_read_as_it_is_printed(book: Path) -> None:
    """And nothing else is one."""
    head = head_of(book)
    assert Head.parse(f"{head}\n") == head
    for text in ("", "5", "5:abc", f"x:{'0' * 64}", f"0:{'z' * 64}", f"5:{'A' * 64}", f"²:{'0' * 64}"):
        with pytest.raises(UsageError, match="is no head"):
            Head.parse(text)


def test_a_campaign_is_found_by_name_or_alone(tmp_path: Path) -> None:
    """Two of them need a name; none says how to start one."""

    def named(name: str | None) -> Callable[[], Path]:
        return lambda: find_campaign(tmp_path, name)

    with pytest.raises(StoreError, match="there is no campaign in"):
        named(None)()
    for name in ("one", "two"):
        with CampaignWriter(tmp_path / "campaign" / name, new=True) as writer:
            writer.append("start", {}, stamp())
        assert named(name)().name == name
    assert campaigns(tmp_path) == ["one", "two"]
    with pytest.raises(StoreError, match="more than one campaign"):
        named(None)()
    with pytest.raises(StoreError, match="no campaign 'three'"):
        named("three")()


def test_the_page_has_every_column(book: Path) -> None:
    """In the order of the table."""
    text = PAGE.read_text(encoding="utf-8").split("| column of `entry` |", 1)[1]
    told = [line.split("`")[1] for line in text.splitlines()[2:] if line.startswith("| `")]
    with sqlite3.connect(book / "campaign.db") as connection:
        assert told == [row[1] for row in connection.execute("PRAGMA table_info(entry)")]
