"""Pages of one file: base template, style, the charts' script, and what keeps a page safe and offline.

A page holds all it needs: the chart library comes from the installed package `uplot-python`, at the moment of
rendering. Its content security policy lets no request leave, and runs the one script whose hash it names:
text of a target or of a plan cannot run, even where escaping should ever be forgotten. The pages that are
files (a run, two runs, a campaign) extend `templates/base.html` and are made by `render`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from importlib.resources import files as own_files
from typing import Any, Final

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from loadgate import __version__
from loadgate.errors import UsageError

LIBRARY: Final = "uplot-python"
_HTML: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render(template: str, data: Mapping[str, Any] | None = None, *, style: str = "", **values: Any) -> str:
    """Return a page: `data` is what its charts are drawn from, `values` what its template shows.

    A page without charts has no `data`, and needs no chart library. `style` names an asset with a style
    sheet of the page's own. Raises UsageError, with the remedy, where the chart library is wanted and not
    installed.
    """
    charts = data is not None
    script = _asset("page.js") + (f"\n{_charts()}" if charts else "")
    sheets = _asset("page.css") + (library_file("uPlot.min.css") if charts else "")
    return (
        _environment()
        .get_template(template)
        .render(
            **values,
            loadgate_version=__version__,
            style=Markup(sheets + (_asset(style) if style else "")),
            script=Markup(_embeddable(script)),
            policy=_policy(script),
            data=script_json(data) if charts else None,
        )
    )


def script_json(value: Any) -> Markup:
    """Return JSON that may stand inside a script element, whatever text it holds."""
    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    for char, escape in _HTML.items():
        text = text.replace(char, escape)
    return Markup(text)


@cache
def library_file(name: str) -> str:
    """Read a file of the chart library from its installed package, without importing it.

    Raises UsageError where the package, or the file in it, is not there.
    """
    hint = f"install it: pip install {LIBRARY}"
    try:
        found = [file for file in files(LIBRARY) or () if file.name == name and file.parent.name == "static"]
        if not found:
            raise UsageError(
                f"the package {LIBRARY} has no {name}, which the report's charts need", hint=hint
            )
        return found[0].read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError) as error:
        raise UsageError(
            f"the package {LIBRARY}, which draws the report's charts, is missing", hint=hint
        ) from error


@cache
def _charts() -> str:
    return library_file("uPlot.iife.js") + "\n" + _asset("charts.js")


def _embeddable(script: str) -> str:
    """Return a script that may stand in a page; UsageError where its text would end its element."""
    if "</script" in script.lower():
        raise UsageError(
            f"the script of {LIBRARY} cannot be embedded", hint="install the version that is pinned"
        )
    return script


@cache
def _asset(name: str) -> str:
    return own_files("loadgate.report.html").joinpath("assets", name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Return the content security policy: this script, styles in the page, and nothing else from anywhere."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("loadgate.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
