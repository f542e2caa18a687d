"""How alike neighbouring windows are, and so how much a run tells.

The correlation length of a series is the number of windows that tell as much as one independent window:
1 + 2·(sum of its autocorrelations), the integrated autocorrelation time. A run of W windows is worth W /
length independent ones. For an AR(1) series with coefficient phi it is (1 + phi) / (1 - phi).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

_LAGS: Final = 200
"""The most lags that are looked at."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """The correlation length of a series, in windows, at least 1."""

    length: float

    def widening(self, per_batch: float) -> float:
        """Return by how much the deviation of batches of so many windows has to be widened, at least 1.

        Batches are alike too, as far as what makes the windows alike reaches from one into the next. For an
        AR(1) series with this length a batch of m windows shows length - 2·phi·(1 - phi^m) / ((1 - phi)²·m)
        of the variance instead of `length`.
        """
        phi = (self.length - 1) / (self.length + 1)
        hidden = 2 * phi * (1 - phi**per_batch) / ((1 - phi) ** 2 * per_batch)
        return float(np.sqrt(self.length / (self.length - hidden)))


INDEPENDENT: Final = Correlation(1.0)
"""Windows that have nothing to do with each other."""


def correlation_of(series: Floats) -> Correlation:
    """Estimate the correlation length of a series whose mean is taken off first.

    Autocorrelations are summed in pairs as long as a pair is positive, none greater than the one before
    (C. Geyer, "Practical Markov chain Monte Carlo", Statistical Science 7, 1992: the initial monotone
    sequence), so that the noise of far lags does not add up. 1/n is added to each, which is about what
    taking off the estimated mean takes from it. A constant series, or one of fewer than four windows, is
    taken as independent.
    """
    n = len(series)
    offsets = series - series.mean() if n else series
    variance = float(offsets @ offsets)
    if n < 4 or variance <= 0:
        return INDEPENDENT
    lags = min(n // 2, _LAGS)
    found = np.array(
        [1.0, *(offsets[:-lag] @ offsets[lag:] / variance + 1 / n for lag in range(1, lags + 1))]
    )
    pairs = found[: 2 * (len(found) // 2)].reshape(-1, 2).sum(axis=1)
    stop = np.flatnonzero(pairs <= 0)
    kept = np.minimum.accumulate(pairs[: stop[0]] if stop.size else pairs)
    return Correlation(max(1.0, 2 * float(kept.sum()) - 1))
