from __future__ import annotations

from pathlib import Path

import pytest

from loadgate.errors import UsageError
from loadgate.traffic.corpus import Corpus
from loadgate.traffic.corpus_file import PROBLEMS_SHOWN, Text, read


def texts_of(tmp_path: Path, name: str, content: str | bytes, field: str = "text") -> list[str]:
    """Write a file and read its texts."""
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [entry.text for entry in read(path, field)]


def refusal(tmp_path: Path, name: str, content: str | bytes, field: str = "text") -> str:
    """Write a file that is refused, and return its problems."""
    with pytest.raises(UsageError) as caught:
        texts_of(tmp_path, name, content, field)
    assert caught.value.hint
    return caught.value.message.partition("as a corpus: ")[2] or caught.value.message


def test_jsonl(tmp_path: Path) -> None:
    """A line is an object; its text may hold anything JSON can say, and a language may stand beside it."""
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "a\\n\\"b\\" \\u00e9"}\r\n{"text": "c\u2028d", "language": "fr", "n": 1}', "utf-8"
    )
    assert read(path) == (Text('a\n"b" é', ""), Text("c\u2028d", "fr"))


def test_csv(tmp_path: Path) -> None:
    """The field names a column; quoted cells may hold commas, quotes and line ends."""
    content = 'id,q\r\n1,"a, ""b"""\r\n2,"c\nd"\r\n'
    assert texts_of(tmp_path, "a.CSV", content, "q") == ['a, "b"', "c\nd"]


def test_csv_language(tmp_path: Path) -> None:
    """A column "language" says the language of each text."""
    path = tmp_path / "a.csv"
    path.write_text("text,language\nhallo,de\n", "utf-8")
    assert read(path) == (Text("hallo", "de"),)


def test_txt(tmp_path: Path) -> None:
    """Each line is a text; only line feeds part lines."""
    assert texts_of(tmp_path, "a.txt", "one\r\n two \nthree\u2028four\n") == [
        "one",
        " two ",
        "three\u2028four",
    ]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
def test_byte_order_mark(tmp_path: Path, name: str) -> None:
    """A byte order mark, as spreadsheets write it, is no part of the content."""
    content = {"a.txt": "hi", "a.csv": "text\nhi", "a.jsonl": '{"text": "hi"}'}[name]
    assert texts_of(tmp_path, name, b"\xef\xbb\xbf" + content.encode()) == ["hi"]


def test_another_field(tmp_path: Path) -> None:
    """The field's name is the declaration's."""
    (tmp_path / "a.jsonl").write_text('{"prompt": "p", "text": 5}\n', "utf-8")
    assert [entry.text for entry in Corpus(tmp_path / "a.jsonl", field="prompt").texts] == ["p"]


def test_every_problem_of_a_jsonl_file(tmp_path: Path) -> None:
    """All problems are named at once, each with its line."""
    lines = [
        '{"text": "fine"}',
        '{"txt": "x"}',
        '{"text": 5}',
        '{"text": null}',
        '["text"]',
        "",
        '{"text": "fine"}',
        '{"text": " "}',
        '{"text": "\\ud800"}',
        '{"text": "x", "language": 1}',
        '{"text": ',
    ]
    problems = refusal(tmp_path, "a.jsonl", "\n".join(lines)).split("; ")
    assert problems[:9] == [
        'line 2: no field "text"',
        "line 3: the text is not a string but int",
        "line 4: the text is not a string but null",
        "line 5: not a JSON object",
        "line 6: blank",
        "line 7: the same text as line 1",
        "line 8: the text is empty",
        "line 9: the text holds half of a surrogate pair, which UTF-8 cannot say",
        'line 10: "language" is not a string',
    ]
    assert problems[9].startswith("line 11: not JSON (")
    assert len(problems) == 10


def test_every_problem_of_a_csv_file(tmp_path: Path) -> None:
    """Lines are those of the file, also after a cell that spans several."""
    content = 'id,text\n1,"a\nb"\n2\n\n3,\n4,"a\nb"\n5,c,d\n'
    assert refusal(tmp_path, "a.csv", content).split("; ") == [
        "line 4: 1 cells under a header of 2",
        "line 5: blank",
        "line 6: the text is empty",
        "line 7: the same text as line 2",
        "line 9: 3 cells under a header of 2",
    ]


def test_csv_that_ends_in_a_quote(tmp_path: Path) -> None:
    """A quote that is never closed is named with the line on which its row began."""
    assert refusal(tmp_path, "a.csv", 'text\nfine\n"never\nclosed').startswith("line 3: not CSV (")


@pytest.mark.parametrize(("header", "times"), [("id,other", 0), ("text,text", 2)])
def test_csv_header(tmp_path: Path, header: str, times: int) -> None:
    """The column must be there, once."""
    problem = refusal(tmp_path, "a.csv", f"{header}\n1,2\n")
    assert problem == f'line 1: the header has the column "text" {times} times'


def test_problems_of_a_txt_file(tmp_path: Path) -> None:
    """A blank line and a line that stands twice are problems."""
    assert refusal(tmp_path, "a.txt", "a\n\na\n") == "line 2: blank; line 3: the same text as line 1"


def test_lines_that_are_not_utf8(tmp_path: Path) -> None:
    """Each line in another encoding is named."""
    problem = refusal(tmp_path, "a.txt", b"ok\ncaf\xe9\nfine\n\xff\n").split("; ")
    assert [part.partition(":")[0] for part in problem] == ["line 2", "line 4"]
    assert all("not UTF-8" in part for part in problem)


@pytest.mark.parametrize(
    ("name", "content"), [("a.txt", ""), ("a.jsonl", ""), ("a.csv", ""), ("a.csv", "text\n")]
)
def test_empty_file(tmp_path: Path, name: str, content: str) -> None:
    """A file without a text is no corpus."""
    assert refusal(tmp_path, name, content) == "it holds no text"


def test_many_problems_are_counted(tmp_path: Path) -> None:
    """Beyond the shown ones, problems are counted, so that the message can be read."""
    problem = refusal(tmp_path, "a.txt", "\n" * (PROBLEMS_SHOWN + 7))
    assert problem.endswith(f"line {PROBLEMS_SHOWN}: blank; and 7 more")


def test_unknown_kind_of_file(tmp_path: Path) -> None:
    """A file of another kind is refused with the kinds there are."""
    assert "of no kind" in refusal(tmp_path, "a.yaml", "text: hi")


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    """A folder cannot be read."""
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "a.txt")


def test_list_of_texts() -> None:
    """A list is held to the same rules, by position."""
    with pytest.raises(
        UsageError, match="text 2: the same text as text 1; text 3: the text is not a string but"
    ):
        Corpus.of(["a", "a", 3])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="it holds no text"):
        Corpus.of([])
