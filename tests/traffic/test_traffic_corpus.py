from __future__ import annotations

import subprocess
import sys
from collections import Counter
from math import sqrt
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.errors import UsageError
from loadgate.traffic.corpus import BLOCK, Corpus

WORDS = [f"text number {n}" for n in range(40)]


def bound(corpus: Corpus, seed: int = 1, worker: int = 0, run: str = "load-1") -> Corpus:
    """Bind a corpus and return it."""
    corpus.bind(seed, worker, run)
    return corpus


def drawn(corpus: Corpus, count: int) -> list[str]:
    """Draw some texts."""
    return [corpus.draw() for _ in range(count)]


def within_five_sigma(seen: int, n: int, p: float) -> bool:
    """Tell whether a count of n trials of chance p lies within 5 standard deviations of its mean."""
    return abs(seen - n * p) <= 5 * sqrt(n * p * (1 - p))


class TestDistribution:
    def test_zipf_frequencies(self) -> None:
        """With skew 1, four hot texts have the shares 1, 1/2, 1/3, 1/4 over 25/12: 48, 24, 16 and 12 %."""
        corpus = bound(Corpus.of(WORDS[:4], fresh=0, skew=1))
        n = 100_000
        counts = Counter(drawn(corpus, n))
        for text, share in zip(corpus.hot_texts(1), (0.48, 0.24, 0.16, 0.12), strict=True):
            assert within_five_sigma(counts[text], n, share)

    def test_skew_zero_is_uniform(self) -> None:
        """With skew 0, all hot texts are alike."""
        n = 100_000
        counts = Counter(drawn(bound(Corpus.of(WORDS[:5], fresh=0, skew=0)), n))
        assert len(counts) == 5
        assert all(within_five_sigma(seen, n, 0.2) for seen in counts.values())

    def test_fresh_share(self) -> None:
        """A quarter of the draws are fresh when a quarter was asked for."""
        n = 20_000
        texts = drawn(bound(Corpus.of(WORDS, fresh=0.25)), n)
        assert within_five_sigma(sum(text not in WORDS for text in texts), n, 0.25)

    @pytest.mark.parametrize(("fresh", "expected"), [(0.0, 0), (1.0, 2000)])
    def test_fresh_extremes(self, fresh: float, expected: int) -> None:
        """A share of 0 gives no fresh text, a share of 1 nothing else."""
        texts = drawn(bound(Corpus.of(WORDS, fresh=fresh)), 2000)
        assert sum(text not in WORDS for text in texts) == expected

    def test_only_the_hot_set_repeats(self) -> None:
        """Texts outside the hot set are never drawn as they stand."""
        corpus = bound(Corpus.of(WORDS, hot=10, fresh=0.2))
        plain = {text for text in drawn(corpus, 5000) if text in WORDS}
        assert plain == set(corpus.hot_texts(1))
        assert len(plain) == 10

    def test_short_file_is_hot_as_a_whole(self) -> None:
        """A hot set larger than the file is the file."""
        assert sorted(Corpus.of(WORDS, hot=1000).hot_texts(1)) == sorted(WORDS)


class TestDeterminism:
    def test_same_seed_and_worker_draw_alike(self) -> None:
        """What is drawn depends only on the texts, the declaration, seed, worker and run."""
        one, other = (bound(Corpus.of(WORDS), worker=3) for _ in range(2))
        assert drawn(one, 2000) == drawn(other, 2000)

    @pytest.mark.parametrize(("seed", "worker"), [(1, 1), (2, 0)])
    def test_other_workers_and_seeds_draw_otherwise(self, seed: int, worker: int) -> None:
        """Another worker, or another seed, gives another sequence."""
        base = drawn(bound(Corpus.of(WORDS, fresh=0)), 200)
        assert drawn(bound(Corpus.of(WORDS, fresh=0), seed, worker), 200) != base

    def test_negative_seed(self) -> None:
        """Any whole number is a seed."""
        assert drawn(bound(Corpus.of(WORDS), seed=-7), 3)

    def test_workers_share_the_hot_set(self) -> None:
        """All workers of a seed draw from one hot set, whatever the order of the lines."""
        corpora = (Corpus.of(WORDS, hot=8, fresh=0), Corpus.of(reversed(WORDS), hot=8, fresh=0))
        sets = [set(drawn(bound(corpus, worker=n), 3000)) for n, corpus in enumerate(corpora)]
        assert sets[0] == sets[1]
        assert len(sets[0]) == 8

    def test_seeds_choose_the_hot_set(self) -> None:
        """Another seed makes other texts hot."""
        assert Corpus.of(WORDS, hot=8).hot_texts(1) != Corpus.of(WORDS, hot=8).hot_texts(2)

    def test_two_declarations_draw_independently(self) -> None:
        """Two attributes with the same texts neither draw alike nor make the same fresh texts."""

        class Users:
            first = Corpus.of(WORDS, fresh=1)
            second = Corpus.of(WORDS, fresh=1)

        texts = [drawn(bound(corpus), 600) for corpus in (Users.first, Users.second)]
        assert not set(texts[0]) & set(texts[1])

    def test_binding_again_to_the_same_run_goes_on(self) -> None:
        """Binding twice to the same run does not start over, which would send fresh texts again."""
        corpus = bound(Corpus.of(WORDS, fresh=1))
        before = drawn(corpus, 10)
        assert not set(before) & set(drawn(bound(corpus), BLOCK))

    def test_binding_to_a_new_run_starts_over(self) -> None:
        """In a new run nothing has been drawn yet."""
        corpus = bound(Corpus.of(["only"], fresh=0))
        drawn(corpus, 2)
        assert corpus.repeated
        bound(corpus, run="load-2").draw()
        assert not corpus.repeated


class TestFresh:
    def test_unique_across_workers_and_runs(self) -> None:
        """No fresh text is made twice: not by one worker, nor by two, nor in two runs."""
        texts = [
            text
            for run in ("load-1", "load-11", "load-2")
            for worker in (0, 1, 11)
            for text in drawn(bound(Corpus.of(WORDS, fresh=1), worker=worker, run=run), 1200)
        ]
        assert len(set(texts)) == 3 * 3 * 1200

    def test_form_follows_the_language(self, tmp_path: Path) -> None:
        """A fresh text keeps its base and speaks its language; an unknown one gets a bare reference."""
        (tmp_path / "c.jsonl").write_text(
            '{"text": "Na toll.", "language": "de"}\n{"text": "Boh.", "language": "xx"}\n', encoding="utf-8"
        )
        for text in drawn(bound(Corpus(tmp_path / "c.jsonl", fresh=1)), 100):
            assert "load-1" in text
            if "Na toll." in text:
                assert any(word in text for word in ("Vorgangsnummer", "Zu ", "geschrieben"))
            else:
                assert text.replace("Boh.", "").split() != []
                assert not any(word in text for word in ("reference", "Reference", "about"))

    def test_own_forms(self) -> None:
        """Forms of one's own replace the natural ones; braces of the base text mean nothing."""
        corpus = bound(Corpus.of(["{a} and {0}"], fresh=1, forms=["For {reference}: {text}"]))
        first, second = drawn(corpus, 2)
        assert first.startswith("For load-1-")
        assert first.endswith("-0-1: {a} and {0}")
        assert second.endswith("-0-2: {a} and {0}")

    def test_full_stop(self) -> None:
        """A text without a full stop gets one when a sentence is put behind it."""
        for base, start in (("ok", "ok. See "), ("ok!", "ok! See "), ("別に", "別に See ")):
            corpus = bound(Corpus.of([base], fresh=1, forms=["{text} See {reference}"]))
            assert corpus.draw().startswith(start)

    @pytest.mark.parametrize(
        "form", ["{text}", "{reference}", "{text} {reference} {x}", "{text}{text}", "", "{text}{reference}{"]
    )
    def test_unusable_forms(self, form: str) -> None:
        """A form must hold the text and the reference, once each, and nothing else in braces."""
        with pytest.raises(UsageError, match="cannot make a fresh text"):
            Corpus.of(WORDS, forms=[form])


class TestRepeats:
    @given(
        st.integers(1, 40),
        st.floats(0, 1),
        st.floats(0, 3),
        st.integers(0, 3),
        st.integers(1, 3 * BLOCK),
    )
    @settings(max_examples=40, deadline=None)
    def test_repeated_is_what_a_list_of_all_draws_says(
        self, hot: int, fresh: float, skew: float, worker: int, count: int
    ) -> None:
        """`repeated` holds exactly when the text is among the earlier ones of this worker and run."""
        corpus = bound(Corpus.of(WORDS, hot=hot, fresh=fresh, skew=skew), worker=worker)
        seen: set[str] = set()
        for _ in range(count):
            text = corpus.draw()
            assert corpus.repeated == (text in seen)
            seen.add(text)

    def test_take_repeats(self) -> None:
        """It is None without a draw, and True only if every draw since the last call repeats."""
        corpus = bound(Corpus.of(["only"], fresh=0))
        answers = [corpus.take_repeats()]
        for draws in (1, 1, 0, 2):
            drawn(corpus, draws)
            answers.append(corpus.take_repeats())
        assert answers == [None, False, True, None, True]

    def test_take_repeats_of_mixed_draws(self) -> None:
        """One new text among the draws makes the request a new one, wherever it stands."""
        corpus = bound(Corpus.of(["only"], fresh=0))
        drawn(corpus, 3)
        assert corpus.take_repeats() is False

    @pytest.mark.parametrize(
        ("texts", "fresh", "draws", "expected"),
        [
            (1, 0.0, 1, 0.0),
            (1, 0.0, 4, 3 / 4),  # only the first of four is new
            (2, 0.0, 2, 1 / 4),  # the second is the first one again half of the time
            (1, 0.5, 2, 1 / 8),  # two hot draws in a row (1/4), one of them a repeat
            (5, 1.0, 100, 0.0),
        ],
    )
    def test_expected_repeat_share(self, texts: int, fresh: float, draws: int, expected: float) -> None:
        """The formula gives what can be worked out by hand for uniform hot sets."""
        corpus = Corpus.of(WORDS[:texts], fresh=fresh, skew=0)
        assert corpus.expected_repeat_share(draws) == pytest.approx(expected, abs=1e-12)

    def test_expected_share_is_met_on_average(self) -> None:
        """Over 300 workers of 200 draws the mean share is the formula's, to within 5 standard errors."""
        shares = []
        for worker in range(300):
            corpus = bound(Corpus.of(WORDS, hot=30, fresh=0.2, skew=1.2), worker=worker)
            repeats = 0
            for _ in range(200):
                corpus.draw()
                repeats += corpus.repeated
            shares.append(repeats / 200)
        mean = sum(shares) / 300
        error = sqrt(sum((share - mean) ** 2 for share in shares) / 299 / 300)
        assert abs(mean - corpus.expected_repeat_share(200)) <= 5 * error

    def test_expected_share_of_nothing(self) -> None:
        """A share of no draws is no number."""
        with pytest.raises(ValueError, match="draws must be 1 or more"):
            Corpus.of(WORDS).expected_repeat_share(0)


class TestDeclaration:
    @pytest.mark.parametrize(
        "options",
        [
            {"hot": 0},
            {"hot": 1.5},
            {"hot": True},
            {"fresh": -0.1},
            {"fresh": 1.1},
            {"fresh": float("nan")},
            {"skew": -1},
            {"skew": float("nan")},
            {"skew": float("inf")},
        ],
    )
    def test_options_out_of_range(self, options: dict[str, float]) -> None:
        """An option out of range is refused where it is declared, with the name it has."""
        with pytest.raises(UsageError, match=next(iter(options))):
            Corpus.of(WORDS, **options)  # type: ignore[arg-type]

    def test_path_starts_beside_the_declaring_file(self) -> None:
        """A relative path, string or Path, starts at the folder of the file that declares the corpus."""
        here = Path(__file__).resolve().parent
        assert Corpus("texts/a.txt").path == here / "texts/a.txt"
        assert Corpus(Path("a.txt")).path == here / "a.txt"
        assert Corpus("/tmp/a.txt").path == Path("/tmp/a.txt")

    def test_file_is_read_late(self, tmp_path: Path) -> None:
        """A missing file is no error until it is needed, and then the error names it."""
        corpus = Corpus(tmp_path / "none.txt")
        with pytest.raises(UsageError, match=r"none\.txt cannot be read: No such file"):
            bound(corpus)

    def test_draw_before_bind(self) -> None:
        """Drawing outside a run is an error that says what to do."""
        with pytest.raises(UsageError, match="before a run began") as caught:
            Corpus.of(WORDS).draw()
        assert "bind(seed, worker, run)" in caught.value.hint

    def test_negative_worker(self) -> None:
        """Workers are counted from 0."""
        with pytest.raises(UsageError, match="worker -1"):
            bound(Corpus.of(WORDS), worker=-1)

    def test_imports_neither_locust_nor_gevent(self) -> None:
        """The corpus is usable where nothing may be monkey-patched."""
        code = "import sys, loadgate.traffic.corpus; print({'locust', 'gevent'} & set(sys.modules))"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert out.stdout == "set()\n"
