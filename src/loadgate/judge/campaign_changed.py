"""What a campaign still takes from a run whose files were changed: what is bad in it.

`loadgate resume` edits the plan where it moves a run's end, and the run goes on at the release under test.
The hashes stay those of what was known, so that the change is named at each look. A pure function.
"""

from __future__ import annotations

from dataclasses import replace

from loadgate.judge.campaign_facts import AlertFacts, RunFacts


def only_bad(known: RunFacts, facts: RunFacts) -> RunFacts:
    """Return what was known of a run with what is bad in it now, and with its end; the same where nothing is.

    Its plan is like none any more, so that nothing good comes of it.
    """
    down = dict(known.down)
    for begin, end in facts.down:
        down[begin] = max(end, down.get(begin, end))
    failed = facts.verdict == "FAIL"
    found = replace(
        known,
        ended=facts.ended,
        ended_at=max(known.ended_at, facts.ended_at),
        verdict="FAIL" if failed else known.verdict,
        reasons=facts.reasons if failed else known.reasons,
        alerts=_together(known.alerts, facts.alerts),
        down=tuple(sorted(down.items())),
        deployments=tuple(sorted({*known.deployments, *facts.deployments})),
    )
    if found == known:
        return known
    return replace(found, plan="", sha256={**facts.sha256, **known.sha256})


def _together(known: tuple[AlertFacts, ...], found: tuple[AlertFacts, ...]) -> tuple[AlertFacts, ...]:
    """Return all alerts; one that was known stays as it was, though it be resolved now."""
    by_time = {(alert.rule, alert.fired_at): alert for alert in (*found, *known)}
    return tuple(sorted(by_time.values(), key=lambda alert: (alert.fired_at, alert.rule)))
