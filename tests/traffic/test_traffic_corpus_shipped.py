from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgate.traffic.corpus_file import Text, read

LOCUSTFILES = Path(__file__).resolve().parents[2] / "locustfiles"
CORPORA = ("emotion", "creative", "reasoning")


@pytest.fixture(scope="module", params=CORPORA)
def texts(request: pytest.FixtureRequest) -> tuple[Text, ...]:
    """Read one of the shipped corpora."""
    return read(LOCUSTFILES / "corpora" / f"{request.param}.jsonl")


@pytest.fixture(scope="module")
def emotion() -> tuple[Text, ...]:
    """Read the corpus of messages."""
    return read(LOCUSTFILES / "corpora" / "emotion.jsonl")


def share(texts: tuple[Text, ...], test: Callable[[Text], bool]) -> float:
    """Return the share of texts for which a test holds."""
    return sum(map(test, texts)) / len(texts)


def words(text: Text) -> int:
    """Count words as white space parts them."""
    return len(text.text.split())


def test_at_least_300_texts(texts: tuple[Text, ...]) -> None:
    """Each endpoint has 300 texts or more."""
    assert len(texts) >= 300


def test_distinct_beyond_case_and_spacing(texts: tuple[Text, ...]) -> None:
    """No two texts are the same but for case and spacing."""
    assert len({" ".join(entry.text.casefold().split()) for entry in texts}) == len(texts)


def test_not_made_from_a_template(texts: tuple[Text, ...]) -> None:
    """No opening of four words is shared by more than 2 % of the texts."""
    openings = Counter(" ".join(entry.text.split()[:4]) for entry in texts if words(entry) >= 4)
    assert openings.most_common(1)[0][1] <= 0.02 * len(texts)


def test_lengths_spread(texts: tuple[Text, ...]) -> None:
    """Texts go from a few words to a few hundred, with some of every length between."""
    counts = sorted(map(words, texts))
    assert counts[0] <= 3
    assert sum(100 <= count <= 300 for count in counts) >= 6
    assert sum(count >= 25 for count in counts) >= 20
    assert sum(10 <= count < 25 for count in counts) >= 60


@pytest.mark.parametrize("characters", ['"', "“”", "'’", "—–", "\n"])
def test_quoting(texts: tuple[Text, ...], characters: str) -> None:
    """Straight and curly quotes, apostrophes, dashes and line ends all occur."""
    assert any(character in entry.text for entry in texts for character in characters)


def test_unicode(texts: tuple[Text, ...]) -> None:
    """Texts go beyond ASCII."""
    assert share(texts, lambda entry: not entry.text.isascii()) >= 0.03


def test_every_message_names_its_language(emotion: tuple[Text, ...]) -> None:
    """The language of each message is given as a code of two letters."""
    assert all(len(entry.language) == 2 and entry.language.islower() for entry in emotion)


def test_emotion_languages(emotion: tuple[Text, ...]) -> None:
    """About a third of the messages is not in English, in fifteen languages or more."""
    assert 0.3 <= share(emotion, lambda entry: entry.language != "en") <= 0.4
    assert len({entry.language for entry in emotion}) >= 16


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("emoji", lambda c: ord(c) >= 0x1F300),
        ("guillemets", lambda c: c in "«»"),
        ("tab", lambda c: c == "\t"),
        ("backslash", lambda c: c == "\\"),
        ("markup", lambda c: c == "<"),
        ("combining characters", lambda c: unicodedata.combining(c) > 0),
        ("right to left", lambda c: unicodedata.bidirectional(c) in ("R", "AL")),
        ("ideographs", lambda c: "CJK UNIFIED" in unicodedata.name(c, "")),
    ],
)
def test_emotion_characters(emotion: tuple[Text, ...], what: str, found: Callable[[str], bool]) -> None:
    """Messages hold every kind of character that breaks careless JSON or text handling."""
    assert any(found(character) for entry in emotion for character in entry.text), what


DESCRIBE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import staging, creative, reasoning
from loadgate.traffic.corpus import Corpus
found = {}
for name in staging.__all__:
    user = getattr(staging, name)
    corpus = next(value for value in vars(user).values() if isinstance(value, Corpus))
    draws = {"EmotionUser": 16500, "CreativeUser": 6600, "ReasoningUser": 9900}[name]
    found[name] = [user.weight, len(corpus), corpus.expected_repeat_share(draws), str(corpus.path)]
prompts = [entry.text for entry in staging.CreativeUser.prompts.texts]
briefs = [creative.brief(prompt) for prompt in prompts]
arguments = [reasoning.argument(entry.text) for entry in staging.ReasoningUser.arguments.texts]
again = [creative.brief(prompt) for prompt in prompts]
print(json.dumps([found, briefs, arguments, briefs == again]))
"""


@pytest.fixture(scope="module")
def staging() -> Any:
    """Load the shipped user classes in a process of their own, as that patches it."""
    command = [sys.executable, "-c", DESCRIBE, str(LOCUSTFILES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_staging_mix(staging: Any) -> None:
    """The mix weighs emotion, creative and reasoning 5, 2 and 3, each with its own corpus."""
    users = staging[0]
    assert {name: user[0] for name, user in users.items()} == {
        "EmotionUser": 5,
        "CreativeUser": 2,
        "ReasoningUser": 3,
    }
    assert sorted(Path(user[3]).name for user in users.values()) == sorted(
        f"{name}.jsonl" for name in CORPORA
    )


def test_planned_repeats(staging: Any) -> None:
    """In 30 s at 1100/s, between 80 and 90 % of all requests repeat an earlier one."""
    users = staging[0].values()
    assert 0.8 <= sum(weight * repeats for weight, _, repeats, _ in users) / 10 <= 0.9


def test_creative_bodies(staging: Any) -> None:
    """Some prompts come with a style, some with two domains, and the same prompt always with the same."""
    _, bodies, _, same = staging
    assert same
    for key in ("style", "domains"):
        assert 0.4 <= sum(key in body for body in bodies) / len(bodies) <= 0.6
    assert all(len(set(body["domains"])) == 2 for body in bodies if "domains" in body)


def test_reasoning_bodies(staging: Any) -> None:
    """Some texts name premises, which are sentences of the text and never all of it."""
    bodies = staging[2]
    with_premises = [body for body in bodies if "premises" in body]
    assert 0.15 <= len(with_premises) / len(bodies) <= 0.4
    for body in with_premises:
        assert 1 <= len(body["premises"]) <= 4
        assert all(premise and premise in body["reasoning"] for premise in body["premises"])
        assert sum(map(len, body["premises"])) < len(body["reasoning"])


def test_the_page_on_traffic_tells_the_shipped_options(staging: Any) -> None:
    """The table of docs/traffic.md gives the share of repeats that the declarations lead to."""
    page = (LOCUSTFILES.parent / "docs" / "traffic.md").read_text("utf-8")
    for name, (_, _, repeats, path) in staging[0].items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {Path(path).stem} |"))
        assert row.split("|")[5].strip() == f"{repeats:.0%}".replace("%", " %"), name
