"""Texts for requests, drawn from a file with a planned repeat behaviour.

A corpus is declared as a class attribute of a user class. A share `fresh` of its draws are texts that
nobody has sent before; all others come from a *hot set* of the file's texts, drawn with Zipf skew, and so
repeat. That plans the cache hit rate of the target: see `Corpus.expected_repeat_share`.

Draws depend only on the file, the declaration, and what `bind` is given, so a run can be repeated.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadgate.errors import UsageError
from loadgate.traffic.corpus_file import Text, checked, read

BLOCK = 512
"""Draws made ahead at a time: enough to pay for numpy, too few to stall a worker for a millisecond."""
FORMS: dict[str, tuple[str, ...]] = {
    "en": (
        "{text} My reference is {reference}, in case it helps.",
        "{text} I wrote about this before, under {reference}.",
        "About {reference}: {text}",
        "{text}\n\nReference {reference}",
        "{text} (This belongs to {reference}.)",
        "Please add this to {reference}. {text}",
        "{text} PS: you will find the rest under {reference}.",
        "Following up on {reference}. {text}",
    ),
    "de": (
        "{text} Meine Vorgangsnummer ist {reference}.",
        "Zu {reference}: {text}",
        "{text} Ich hatte dazu schon unter {reference} geschrieben.",
    ),
    "fr": (
        "{text} Ma référence est {reference}.",
        "Au sujet de {reference} : {text}",
        "{text} J’en avais déjà parlé sous {reference}.",
    ),
    "es": ("{text} Mi número de referencia es {reference}.", "Sobre {reference}: {text}"),
    "it": ("{text} Il mio riferimento è {reference}.", "A proposito di {reference}: {text}"),
    "pt": ("{text} A minha referência é {reference}.", "Sobre {reference}: {text}"),
    "nl": ("{text} Mijn kenmerk is {reference}.", "Over {reference}: {text}"),
    "": ("{text} ({reference})", "{reference}: {text}", "{text}\n\n{reference}"),
}
"""How a fresh text is made, by its base's language: "en" where the file names none, "" for others."""


class _Form(NamedTuple):
    """A template taken apart: what stands before, between and after the text and the reference."""

    before: str
    between: str
    after: str
    text_first: bool

    @classmethod
    def of(cls, template: str) -> _Form:
        """Take a template apart; `UsageError` unless it holds both places once and no other braces."""
        parts = re.split(r"(\{text\}|\{reference\})", template)
        if sorted(parts[1::2]) != ["{reference}", "{text}"] or re.search("[{}]", "".join(parts[::2])):
            raise UsageError(
                f"the form {template!r} cannot make a fresh text",
                hint="it must hold {text} and {reference}, once each, and no other braces",
            )
        return cls(parts[0], parts[2], parts[4], parts[1] == "{text}")

    def filled(self, text: str, reference: str) -> str:
        """Return the fresh text; one that goes on behind a text without a full stop adds it."""
        if not self.text_first:
            return f"{self.before}{reference}{self.between}{text}{self.after}"
        stop = "." if text[-1].isalnum() and text.isascii() else ""
        return f"{self.before}{text}{stop}{self.between}{reference}{self.after}"


_FORMS = {language: tuple(map(_Form.of, forms)) for language, forms in FORMS.items()}


class Corpus:
    """Draw texts from a file: `fresh` of them never seen, the others from a hot set with Zipf skew."""

    def __init__(
        self,
        path: str | Path,
        *,
        field: str = "text",
        hot: int = 200,
        fresh: float = 0.1,
        skew: float = 1.0,
        forms: Sequence[str] = (),
    ) -> None:
        """Declare a corpus. The file is read when the corpus is first needed, at the latest by `bind`.

        `path`: a `.jsonl` file (one object a line; a key "language" is optional), a `.csv` file with a
        header, or a `.txt` file of one text a line, all in UTF-8. A relative path starts at the folder of
        the file that declares the corpus.
        `field`: the key or column that holds the text.
        `hot`: size of the hot set, at least 1; a shorter file is hot as a whole.
        `fresh`: share of draws, 0 to 1, that are texts nobody has sent before.
        `skew`: exponent of the hot set's Zipf law, 0 (all alike) or more.
        `forms`: how fresh texts are made, as templates that hold `{text}` and `{reference}`; without any,
        natural ones for the text's language are used.

        Raise `UsageError` when a value is out of range.
        """
        if type(hot) is not int or hot < 1:
            raise UsageError(f"a corpus cannot have hot={hot!r}", hint="give a whole number, 1 or more")
        if not 0 <= fresh <= 1:
            raise UsageError(f"a corpus cannot have fresh={fresh!r}", hint="give a share from 0 to 1")
        if not 0 <= skew < math.inf:
            raise UsageError(f"a corpus cannot have skew={skew!r}", hint="give a number, 0 or more")
        self.path: Path | None = _beside_caller(path)
        self.field = field
        self.hot = hot
        self.fresh = float(fresh)
        self.skew = float(skew)
        self.forms = tuple(map(_Form.of, forms))
        self.repeated = False
        """Whether the text drawn last was drawn before, by this worker in this run."""
        self._texts: tuple[Text, ...] | None = None
        self._owner = ""
        self._bound: tuple[int, int, str] | None = None
        self._block: list[tuple[str, bool]] = []
        self._all_repeat: bool | None = None

    @classmethod
    def of(
        cls,
        texts: Iterable[str],
        *,
        hot: int = 200,
        fresh: float = 0.1,
        skew: float = 1.0,
        forms: Sequence[str] = (),
    ) -> Corpus:
        """Make a corpus of texts that are already in memory; the options are those of a file's corpus.

        Raise `UsageError` when there is no text, or one is empty, given twice, or not a string.
        """
        corpus = cls("", hot=hot, fresh=fresh, skew=skew, forms=forms)
        corpus.path = None
        corpus._texts = checked(((f"text {n}", text, "") for n, text in enumerate(texts, 1)), "the list")
        return corpus

    def __set_name__(self, owner: type, name: str) -> None:
        """Note the class and attribute, so that two declarations of one file draw independently."""
        self._owner = self._owner or f"{owner.__module__}.{owner.__qualname__}.{name}"

    def __repr__(self) -> str:
        """Show the declaration."""
        source = "a list" if self.path is None else str(self.path)
        return f"Corpus({source}, hot={self.hot}, fresh={self.fresh}, skew={self.skew})"

    def __len__(self) -> int:
        """Return the number of texts; reads the file when that has not been done."""
        return len(self.texts)

    @property
    def texts(self) -> tuple[Text, ...]:
        """Return all texts in the order of the file; raise `UsageError` with every problem it has."""
        if self._texts is None:
            assert self.path is not None  # only `of` leaves it out, and that sets the texts
            self._texts = read(self.path, self.field)
        return self._texts

    def hot_texts(self, seed: int) -> list[str]:
        """Return the hot set in order of popularity: the same for every worker that has the same seed.

        The order is that of a keyed hash of each text, so that it depends on no library's version and on
        no order of lines: workers on unlike hosts share one hot set.
        """
        key = str(seed).encode()

        def rank(text: str) -> bytes:
            return hashlib.blake2b(key + b"\0" + text.encode(), digest_size=16).digest()

        return sorted((entry.text for entry in self.texts), key=rank)[: self.hot]

    def bind(self, seed: int, worker: int, run: str) -> None:
        """Make ready to draw in a run; reads the file. Binding again to the same three changes nothing.

        `seed` is the plan's. `worker` (0 or more) must differ between all processes of the run, also those
        that replace a dead one, and `run` between runs: fresh texts are unique because these are.
        """
        if worker < 0:
            raise UsageError(f"a corpus cannot be bound to worker {worker}", hint="count workers from 0")
        if self._bound == (seed, worker, run):
            return
        salt = zlib.crc32(self._owner.encode())
        self._hot = [(text, True) for text in self.hot_texts(seed)]
        self._cumulative = np.cumsum(self._weights())
        self._cumulative /= self._cumulative[-1]
        # numpy wants whole numbers of 0 or more: a negative seed is taken modulo 2^64.
        self._rng = np.random.Generator(np.random.PCG64([seed % 2**64, worker, salt]))
        self._unseen = np.ones(len(self._hot), dtype=np.bool_)
        # Read from the right this is one counter, one worker, one declaration and one run: never two alike.
        self._reference = f"{run}-{salt:08x}-{worker}-"
        self._fresh_made = 0
        self._block = []
        self._all_repeat = None
        self.repeated = False
        self._bound = (seed, worker, run)

    def draw(self) -> str:
        """Return the next text and set `repeated`; raise `UsageError` when `bind` was not called."""
        block = self._block
        if not block:
            block = self._refill()
        text, repeated = block.pop()
        self.repeated = repeated
        if not repeated:
            self._all_repeat = False
        elif self._all_repeat is None:
            self._all_repeat = True
        return text

    def take_repeats(self) -> bool | None:
        """Tell whether all draws since the last call repeat earlier ones; None when there was no draw."""
        repeats = self._all_repeat
        self._all_repeat = None
        return repeats

    def expected_repeat_share(self, draws: int) -> float:
        """Return the share of a worker's first `draws` draws that is expected to repeat an earlier one.

        With n draws, a share f of them fresh, and hot text i drawn with probability q_i = (1 - f) p_i,
        where p_i is the Zipf weight 1 / i^skew over the sum of all weights, the expected number of
        different hot texts is sum(1 - (1 - q_i)^n). The first draw of each is no repeat, so

            share = (1 - f) - sum(1 - (1 - q_i)^n) / n

        With n the draws of all workers it is the expected hit rate of an endless cache that was empty.
        Raise `ValueError` when `draws` is under 1.
        """
        if draws < 1:
            raise ValueError(f"draws must be 1 or more, not {draws}")
        weights = self._weights()
        hot = (1 - self.fresh) * weights / weights.sum()
        # A single hot text that is always drawn has log1p(-1) = -inf, which is right: (1 - 1)^n = 0.
        with np.errstate(divide="ignore"):
            different = -np.expm1(draws * np.log1p(-hot)).sum()
        return max(0.0, float((1 - self.fresh) - different / draws))

    def _weights(self) -> NDArray[np.float64]:
        """Return the Zipf weights of the hot set, most popular first; they do not sum to 1."""
        ranks = np.arange(1, min(self.hot, len(self)) + 1, dtype=np.float64)
        return ranks**-self.skew

    def _refill(self) -> list[tuple[str, bool]]:
        """Draw the next block, last draw first, so that `pop` gives them in order."""
        if self._bound is None:
            raise UsageError(
                f"{self!r} was drawn from before a run began",
                hint="declare it as a class attribute of a LoadUser, or call bind(seed, worker, run) first",
            )
        rng = self._rng
        is_fresh = rng.random(BLOCK) < self.fresh
        ranks = np.searchsorted(self._cumulative, rng.random(BLOCK), side="right")
        hot = self._hot
        block = [hot[rank] for rank in ranks.tolist()]
        for place in np.flatnonzero(self._unseen[ranks] & ~is_fresh).tolist():
            rank = ranks[place]
            if self._unseen[rank]:  # else an earlier place of this block was the first
                self._unseen[rank] = False
                block[place] = (hot[rank][0], False)
        places = np.flatnonzero(is_fresh).tolist()
        for place, text in zip(places, self._fresh_texts(len(places)), strict=True):
            block[place] = (text, False)
        block.reverse()
        self._block = block
        return block

    def _fresh_texts(self, count: int) -> Iterator[str]:
        """Yield `count` texts that nobody has sent before, each a variation of a text of the file."""
        texts = self.texts
        bases = self._rng.integers(len(texts), size=count).tolist()
        choices = self._rng.random(count).tolist()
        for base, choice in zip(bases, choices, strict=True):
            text, language = texts[base]
            forms = self.forms or _FORMS.get(language[:2] or "en") or _FORMS[""]
            self._fresh_made += 1
            yield forms[int(choice * len(forms))].filled(text, f"{self._reference}{self._fresh_made}")


def _beside_caller(path: str | Path) -> Path:
    """Take a relative path from the folder of the module that declares the corpus (two frames up)."""
    declared_in = sys._getframe(2).f_globals.get("__file__")
    folder = Path(declared_in).resolve().parent if declared_in else Path.cwd()
    return folder / path
