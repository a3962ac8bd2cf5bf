"""Pictures of a report: SVG by matplotlib, each for light and for dark screens."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fasthash.errors import ConfigError
from fasthash.report.facts import NEVER, CatalogFacts, Facts, Row
from fasthash.summary import human_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Three stand beside each other on a desk, one fills a phone: letters are legible on both.
SIZE_INCHES = (4.2, 2.5)


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of one screen mode, as in the page's style sheet."""

    ink: str
    faint: str
    one: str
    other: str


LIGHT = Theme("#3f4a5a", "#d9dee6", "#2563eb", "#d97706")
DARK = Theme("#c3cad6", "#3a4352", "#7aa2ff", "#f0b060")


@dataclass(frozen=True, slots=True)
class Picture:
    """One chart: what it is called, what it shows in words, and its SVG for both modes."""

    title: str
    text: str
    light: str
    dark: str


Draw = Callable[["Axes", Theme], None]


def pictures(facts: Facts) -> list[Picture]:
    """The charts that there is something to see in.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    found = []
    if len(facts.history) > 1:
        found.append(_throughput(facts.history, facts.piece_s))
    if facts.catalog is not None and facts.catalog.sizes:
        found.append(_sizes(facts.catalog))
    if facts.catalog is not None and facts.catalog.rows:
        found.append(_ages(facts.catalog))
    return found


def _picture(title: str, text: str, draw: Draw) -> Picture:
    return Picture(title, text, _svg(draw, LIGHT), _svg(draw, DARK))


def _svg(draw: Draw, theme: Theme) -> str:
    try:
        import matplotlib as mpl  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            "a report needs the extra `report`: pip install 'fasthash[report]'"
        ) from error
    settings: Any = {
        # Letters stay letters, in whatever font the reader has.
        "svg.fonttype": "none",
        "svg.hashsalt": "fasthash",
        "font.family": "sans-serif",
        "font.size": 9,
        "text.parse_math": False,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), theme.ink),
        "axes.edgecolor": theme.faint,
        "grid.color": theme.faint,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        draw(axes, theme)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return out.getvalue()


def _throughput(history: Sequence[Row], piece_s: float) -> Picture:
    rows, megabytes = ([h[key] for h in history] for key in ("rows_per_s", "bytes_per_s"))
    megabytes = [b / 1e6 for b in megabytes]
    scale, unit = _time_scale(len(history) * piece_s)
    times = [(n + 0.5) * piece_s / scale for n in range(len(history))]

    def draw(axes: Axes, theme: Theme) -> None:
        axes.fill_between(times, rows, color=theme.one, alpha=0.18, linewidth=0)
        axes.plot(times, rows, color=theme.one, linewidth=1.6)
        axes.set_ylabel("rows a second", color=theme.one)
        axes.set_xlabel(f"{unit} since the beginning")
        axes.yaxis.set_major_formatter(_thousands)
        axes.grid(axis="y", linewidth=0.7)
        axes.set_ylim(bottom=0)
        beside: Any = axes.twinx()
        beside.spines[["top", "left", "bottom", "right"]].set_visible(False)
        beside.plot(times, megabytes, color=theme.other, linewidth=1.4, linestyle=(0, (4, 2)))
        beside.set_ylabel("MB read a second", color=theme.other)
        beside.set_ylim(bottom=0)

    most = f"at most {max(rows):,.0f} rows and {max(megabytes):,.1f} MB a second"
    return _picture("Throughput", f"Rows and bytes a second over time: {most}.", draw)


def _time_scale(seconds: float) -> tuple[float, str]:
    for scale, unit in ((172_800.0, "days"), (7_200.0, "hours"), (120.0, "minutes")):
        if seconds >= scale:
            return scale / 2, unit
    return 1.0, "seconds"


def _thousands(value: float, _position: object = None) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:g}"


def _sizes(catalog: CatalogFacts) -> Picture:
    labels = [_up_to(bar) for bar in catalog.sizes]
    texts = [f"{bar['rows']:,} ({human_bytes(bar['bytes'])})" for bar in catalog.sizes]

    def draw(axes: Axes, theme: Theme) -> None:
        _bars(axes, labels, [bar["rows"] for bar in catalog.sizes], texts, theme.one)

    words = ", ".join(f"{name}: {text}" for name, text in zip(labels, texts, strict=True))
    return _picture("File sizes", f"Files by recorded size, and their bytes: {words}.", draw)


def _up_to(bar: Row) -> str:
    """`10-100 kB`, in whole powers of ten."""
    low, high = (human_bytes(bar[key]).replace(".0", "") for key in ("from_bytes", "to_bytes"))
    number, _, unit = low.partition(" ")
    return (
        f"< {high}"
        if bar["from_bytes"] == 0
        else f"{number if high.endswith(' ' + unit) else low}\N{EN DASH}{high}"
    )


def _ages(catalog: CatalogFacts) -> Picture:
    shown = [a for a in catalog.ages if a["rows"] or a["verified"] != NEVER]
    names, texts = [a["verified"] for a in shown], [f"{a['rows']:,}" for a in shown]

    def draw(axes: Axes, theme: Theme) -> None:
        colors = [theme.other if name == NEVER else theme.one for name in names]
        _bars(axes, names, [a["rows"] for a in shown], texts, colors)

    words = ", ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))
    return _picture("Last verified", f"Files by how long ago they were verified: {words}.", draw)


def _bars(
    axes: Axes,
    names: Sequence[str],
    rows: Sequence[int],
    texts: Sequence[str],
    colors: str | Sequence[str],
) -> None:
    """Bars from above, each with its figures; nothing else is needed to read them."""
    bars = axes.barh(names, rows, color=colors, height=0.7)
    axes.bar_label(bars, [t if n else "" for t, n in zip(texts, rows, strict=True)], padding=3)
    axes.set_ylim(max(3.5, len(rows) - 0.5), -0.6)  # a single bar is no wall
    axes.set_xlim(0, max(rows, default=0) * (1.1 + 0.045 * max(map(len, texts))))
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", length=0)
