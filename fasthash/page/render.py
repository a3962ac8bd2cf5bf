"""The page itself: one HTML file that asks nobody for anything."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator
from importlib.resources import files
from typing import TYPE_CHECKING

from fasthash.errors import ConfigError
from fasthash.logs import printable
from fasthash.page import words
from fasthash.page.facts import Facts
from fasthash.summary import human_bytes
from fasthash.widths import human_time

if TYPE_CHECKING:
    import jinja2

EXTRA = "pip install jinja2 matplotlib"


def require_extra() -> None:
    """Sees that what draws the page is installed.

    Raises:
        ConfigError: it is not; says how to install it.
    """
    # Where there is no home to keep its list of fonts in it says so at length, and goes on.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        import jinja2  # noqa: F401, PLC0415
        import matplotlib as mpl  # noqa: PLC0415

        with _cache_of_fonts(mpl.get_cachedir()):
            import matplotlib.font_manager  # noqa: F401, PLC0415
    except ImportError as error:
        raise ConfigError(f"the page needs {error.name}: {EXTRA}") from error


@contextlib.contextmanager
def _cache_of_fonts(directory: str) -> Iterator[None]:
    """fontconfig, which is asked for fonts, complains on stderr where it cannot keep them.

    Args:
        directory: where it may, if it has no cache below a home.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.access(home, os.W_OK):
        yield
        return
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = directory
    try:
        yield
    finally:
        del os.environ["XDG_CACHE_HOME"]
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before


def html(facts: Facts) -> Iterator[str]:
    """The page, piece by piece, so that long lists are never whole in memory."""
    from markupsafe import Markup  # noqa: PLC0415

    from fasthash.page import charts, listings  # noqa: PLC0415

    # Nothing of these two is anybody's data.
    style, script = Markup(_part("page.css")), Markup(_part("page.js"))  # noqa: S704

    def data(listing: listings.Listing) -> Iterator[Markup]:
        # Escaped for where it stands: `listings.in_script`.
        return map(Markup, listing.as_json())

    stream = _template().stream(
        style=style,
        script=script,
        policy=_policy(style, script),
        data=data,
        facts=facts,
        catalog=printable(str(facts.summary.catalog)),
        verdict=words.verdict(facts),
        cards=words.cards(facts),
        no_drift=words.no_drift(facts),
        never=words.never_verified(facts),
        run_facts=words.run_facts(facts),
        charts=charts.charts(facts),
        by_type=listings.by_type(facts),
        drifts=listings.drifts(facts),
        residual=listings.residual(facts),
        reasons=listings.reasons(facts),
        unlisted=facts.summary.unlisted,
        duplicates=listings.duplicates(facts),
    )
    stream.enable_buffering(500)
    yield from stream


def _template() -> jinja2.Template:
    import jinja2  # noqa: PLC0415

    from fasthash.page.listings import shown  # noqa: PLC0415

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_part),
    )
    environment.filters.update(shown=shown, bytes=human_bytes, time=human_time)
    return environment.get_template("page.html")


def _part(name: str) -> str:
    return (files("fasthash.page") / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """What the browser may load and run: these two elements, and the pictures within the page."""
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
