"""The page's charts as SVG, each light and dark; their words are ordinary text."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fasthash.page.buckets import AgeBucket, SizeBucket, most, share
from fasthash.page.facts import Facts, Piece
from fasthash.summary import human_bytes, human_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# In inches of 72 points, which are shown as CSS pixels: readable at the width of a phone.
WIDTH = 4.8
# Less than three pieces of time are no curve.
LEAST_PIECES = 3


@dataclass(frozen=True, slots=True)
class Ink:
    """The colours of one mode: those of the page's style."""

    text: str
    faint: str
    line: str
    bar: str
    second: str
    empty: str


# Rounding of times aside, what lies between two pieces is a pause.
PAUSE_DAYS = 1 / 86_400
LIGHT = Ink("#1c2430", "#5a6675", "#d9dfe7", "#2b6cb0", "#2f855a", "#a9b4c2")
DARK = Ink("#e6eaf0", "#9aa7b8", "#323c4a", "#63a4e8", "#5cc08f", "#5d6a7b")


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture in both modes as data URIs, a heading, and what it shows in words."""

    name: str
    title: str
    alt: str
    light: str
    dark: str
    table: Sequence[tuple[str, ...]] = ()  # a header and rows: the same in figures


def charts(facts: Facts) -> list[Chart]:
    """All for which there is something to show."""
    found = []
    if len(facts.throughput) >= LEAST_PIECES:
        found.append(_throughput(facts.throughput))
    if facts.catalog_rows:
        found.append(_ages(facts.ages, facts.catalog_rows))
    if facts.sizes:
        found.append(_sizes(facts.sizes))
    return found


def _draw(height: float, draw: Callable[[Figure, Ink], None]) -> tuple[str, str]:
    """The picture in both modes."""
    return _svg(height, draw, LIGHT), _svg(height, draw, DARK)


def _svg(height: float, draw: Callable[[Figure, Ink], None], ink: Ink) -> str:
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    out = io.StringIO()
    with mpl.rc_context(_style(ink)):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        draw(figure, ink)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", metadata=nothing)
    text = out.getvalue()
    # From the root element on: what stands before names a document elsewhere. The font is measured
    # as DejaVu Sans, which is wider than what a browser has for sans-serif.
    svg = text[text.index("<svg") :].replace("'DejaVu Sans', sans-serif", "sans-serif")
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _style(ink: Ink) -> dict[str, Any]:
    """matplotlib's settings: words are text, and never mathematics."""
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "fasthash",
        "font.family": ["sans-serif"],
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10,
        "text.parse_math": False,
        "text.usetex": False,
        "text.color": ink.text,
        "axes.facecolor": "none",
        "axes.edgecolor": ink.line,
        "axes.labelcolor": ink.faint,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": ink.faint,
        "ytick.color": ink.faint,
        "xtick.major.size": 3,
        "ytick.major.size": 0,
    }


def _throughput(pieces: Sequence[Piece]) -> Chart:
    seconds = sum(p.seconds for p in pieces)
    rows = [p.rows / p.seconds for p in pieces]
    read = [p.bytes / p.seconds for p in pieces]

    def draw(figure: Figure, ink: Ink) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True)
        _curve(upper, pieces, rows, ink.bar, "rows/s", ink)
        _curve(lower, pieces, read, ink.second, "bytes/s", ink)
        _count_axis(upper)
        _bytes_axis(lower)
        _time_axis(lower)

    light, dark = _draw(3.1, draw)
    mean_rows, mean_read = sum(p.rows for p in pieces), sum(p.bytes for p in pieces)
    alt = (
        f"Curves of the speed over {human_seconds(seconds)}: {mean_rows / seconds:,.0f} rows a "
        f"second on average and {max(rows):,.0f} at most; {human_bytes(mean_read / seconds)} a "
        f"second on average and {human_bytes(max(read))} at most."
    )
    return Chart("throughput", "Speed over time", alt, light, dark)


def stairs_of(pieces: Sequence[Piece], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Heights and edges (days) of the steps of a curve; zero where nobody worked."""
    from datetime import timedelta  # noqa: PLC0415

    steps: list[float] = []
    edges: list[float] = []
    for piece, value in zip(pieces, values, strict=True):
        since = _number(piece.since)
        if edges and since - edges[-1] > PAUSE_DAYS:
            steps.append(0.0)
        elif edges:
            edges.pop()
        edges += [since, _number(piece.since + timedelta(seconds=piece.seconds))]
        steps.append(value)
    return steps, edges


def _curve(
    axes: Axes, pieces: Sequence[Piece], values: Sequence[float], colour: str, name: str, ink: Ink
) -> None:
    steps, edges = stairs_of(pieces, values)
    axes.stairs(steps, edges, color=colour, lw=1.6)
    axes.stairs(steps, edges, color=colour, alpha=0.18, fill=True)
    axes.set_ylim(bottom=0)
    axes.set_title(name, loc="left", fontsize=10, color=ink.faint)
    axes.grid(axis="y", color=ink.line, lw=0.8)
    axes.set_axisbelow(True)


def _number(time: Any) -> float:
    from matplotlib.dates import date2num  # noqa: PLC0415

    return float(date2num(time))


def _count_axis(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(
        lambda value, _at: f"{value:,.4g}" if value < 1 else f"{value:,.0f}"
    )


def _bytes_axis(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(lambda value, _at: human_bytes(value))


def _time_axis(axes: Axes) -> None:
    from datetime import UTC  # noqa: PLC0415

    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415

    locator = AutoDateLocator(minticks=3, maxticks=7, tz=UTC)
    axes.xaxis_date(tz=UTC)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))
    axes.set_xlabel("time in UTC", loc="left", fontsize=8)


def _bars(
    axes: Axes, labels: Sequence[str], values: Sequence[float], words: Sequence[str],
    colours: Sequence[str], ink: Ink,
) -> None:  # fmt: skip
    """Horizontal bars, the first on top, each with its value beside it."""
    places = range(len(values))
    bars = axes.barh(places, list(map(float, values)), color=colours, height=0.68)
    axes.bar_label(bars, words, padding=4, color=ink.text, fontsize=9)
    axes.set_yticks(places, labels, color=ink.text)
    axes.invert_yaxis()
    axes.set_xlim(0, (max(values) or 1) * 1.5)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)


def _ages(ages: Sequence[AgeBucket], whole: int) -> Chart:
    labels = [bucket.words for bucket in ages]
    shares = [share(bucket.rows, whole) for bucket in ages]

    def draw(figure: Figure, ink: Ink) -> None:
        words = [f"{b.rows:,}  ({s})" for b, s in zip(ages, shares, strict=True)]
        colours = [ink.second if b.is_dated else ink.empty for b in ages]
        _bars(figure.subplots(), labels, [b.rows for b in ages], words, colours, ink)

    light, dark = _draw(0.35 + 0.3 * len(ages), draw)
    told = "; ".join(f"{w}: {b.rows:,}" for w, b in zip(labels, ages, strict=True) if b.rows)
    table = [("verified", "rows", "share")]
    table += [(w, f"{b.rows:,}", s) for w, b, s in zip(labels, ages, shares, strict=True)]
    alt = f"Bars of how long ago the rows of the catalog were verified: {told}."
    return Chart("ages", "When files were verified last", alt, light, dark, table)


def _sizes(sizes: Sequence[SizeBucket]) -> Chart:
    labels = [bucket.label for bucket in sizes]

    def draw(figure: Figure, ink: Ink) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        files = [b.rows for b in sizes]
        _bars(left, labels, files, [f"{n:,}" for n in files], [ink.bar] * len(sizes), ink)
        read = [b.bytes for b in sizes]
        _bars(right, labels, read, [human_bytes(n) for n in read], [ink.second] * len(sizes), ink)
        left.yaxis.set_inverted(True)
        left.set_title("files", loc="left", fontsize=10, color=ink.faint)
        right.set_title("bytes", loc="left", fontsize=10, color=ink.faint)
        right.tick_params(labelleft=False)

    light, dark = _draw(0.6 + 0.28 * len(sizes), draw)
    top = most(sizes)
    alt = (
        f"Bars of how many files have which size and how many bytes they have: most, "
        f"{top.rows:,} files, are of {top.label}."
    )
    table = [("size", "files", "bytes")]
    table += [(b.label, f"{b.rows:,}", human_bytes(b.bytes)) for b in sizes]
    return Chart("sizes", "Sizes of the files", alt, light, dark, table)
