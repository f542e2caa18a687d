"""`loadgate staging`: the reference staging service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from loadgate.plan.units import format_duration, parse_duration
from loadgate.staging.settings import Settings

_DEFAULTS = Settings()
_Command = Callable[..., Any]


class _Duration(click.ParamType[float]):
    """A time with its unit."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_DURATION = _Duration()


def _time(flag: str, help_: str, default: float) -> Callable[[_Command], _Command]:
    """Make an option that takes a duration."""
    return click.option(flag, type=_DURATION, default=format_duration(default), show_default=True, help=help_)


@click.group()
def staging() -> None:
    """Run the reference staging service: a true double of the staging target."""


@staging.command()
@click.option("--host", default=_DEFAULTS.host, show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_DEFAULTS.port,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--envelope",
    type=click.Choice(["wrapped", "plain"]),
    default=_DEFAULTS.envelope,
    show_default=True,
    help="Envelope of the answers; releases differ.",
)
@click.option(
    "--uptime",
    type=click.Choice(["ms", "s"]),
    default=_DEFAULTS.uptime,
    show_default=True,
    help="Unit of `uptime` in /health; releases differ.",
)
@_time("--emotion-latency", "Median work of an emotion answer that is not cached.", _DEFAULTS.emotion_latency)
@_time("--creative-latency", "Likewise for a creative answer.", _DEFAULTS.creative_latency)
@_time("--reasoning-latency", "Likewise for a reasoning answer.", _DEFAULTS.reasoning_latency)
@click.option(
    "--latency-sigma",
    type=click.FloatRange(0, 3),
    default=_DEFAULTS.latency_sigma,
    show_default=True,
    help="Spread of that work (lognormal); 0 makes it constant.",
)
@click.option(
    "--seed", type=int, default=_DEFAULTS.seed, show_default=True, help="Seed of all that is random."
)
@_time("--cache-ttl", "How long an answer stays cached.", _DEFAULTS.cache_ttl)
@click.option(
    "--cache-entries",
    type=click.IntRange(1),
    default=_DEFAULTS.cache_entries,
    show_default=True,
    help="Most answers that are cached.",
)
@click.option("--rate-limit", is_flag=True, help="Limit each client address (a token bucket).")
@click.option(
    "--rate-capacity",
    type=click.FloatRange(1),
    default=_DEFAULTS.rate_capacity,
    show_default=True,
    help="Tokens of a full bucket.",
)
@click.option(
    "--rate-refill",
    type=click.FloatRange(0, min_open=True),
    default=_DEFAULTS.rate_refill,
    show_default=True,
    help="Tokens that come back per second.",
)
@_time("--rate-patience", "Longest delay before a request is refused with 429.", _DEFAULTS.rate_patience)
@click.option(
    "--leak-stack/--no-leak-stack",
    default=_DEFAULTS.leak_stack,
    show_default=True,
    help="Show stack traces in error answers, as the observed service does.",
)
@click.option(
    "--max-body",
    type=click.IntRange(1),
    default=_DEFAULTS.max_body,
    show_default=True,
    help="Largest request body in bytes; larger ones get 413.",
)
@_time("--keep-alive", "How long an idle connection stays open.", _DEFAULTS.keep_alive)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND:KEY=VALUE,...",
    help="Start with a fault on, for example latency:delay=50ms,endpoint=emotion or error:status=503,"
    "share=1%. May be given several times. Kinds: latency, stall, error, reset, truncate, malformed, "
    "wrong_length, hang, drip, cache_off, leak, cpu, shutdown.",
)
@click.option("--exit-with-parent", is_flag=True, help="Stop when the process that started this one ends.")
def serve(**options: Any) -> None:
    """Serve until SIGINT or SIGTERM; print one JSON line when listening.

    Faults and switches can be changed while it runs: see /_staging/faults and /_staging/settings,
    which answer to this machine only.
    """
    from loadgate.staging.runner import serve as serve_until_stopped

    options["faults"] = tuple(options["faults"])
    serve_until_stopped(Settings(**options))
