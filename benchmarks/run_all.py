"""All benchmarks one after the other, and a plot of each.

    .venv/bin/python benchmarks/run_all.py [--short]

Writes JSON and SVG to `benchmarks/results/`. Plots need matplotlib (`pip install '.[bench]'`);
those that need root are left out for others.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import measure

HERE = Path(__file__).parent
BENCHMARKS = (
    "bench_hashing", "bench_files", "bench_writer", "bench_pipeline", "bench_large", "bench_scale",
    "bench_start", "bench_precheck", "bench_rate", "bench_metrics", "bench_long_life", "compare",
    "bench_cold", "bench_politeness",
)  # fmt: skip
ROOT_ONLY = frozenset({"bench_cold", "bench_politeness"})


def plot(result: Path) -> None:
    """A bar for each value."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    found = json.loads(result.read_text(encoding="utf-8"))
    names, values = list(found["values"]), list(found["values"].values())
    figure = Figure(figsize=(8, 0.8 + 0.32 * len(names)), layout="constrained")
    axes = figure.subplots()
    colors = ["#c2410c" if "fasthash" in n or "worker" in n else "#64748b" for n in names]
    bars = axes.barh(names, values, color=colors)
    labels = [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values]
    axes.bar_label(bars, labels, padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel(found["unit"])
    axes.set_title(found["title"], fontsize=10)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(result.with_suffix(".svg"), metadata={"Date": None})


def main() -> None:
    """Each in a process of its own, so that none has the other's memory."""
    options = measure.options(__doc__)
    passed = ["--folder", str(options.folder), "--rounds", str(options.rounds)]
    for name in BENCHMARKS:
        if name in ROOT_ONLY and not measure.may_drop_caches():
            print(f"{name} is left out: only root may drop the page cache")
            continue
        print(f"== {name}", flush=True)
        command = [sys.executable, str(HERE / f"{name}.py"), *passed]
        subprocess.run([*command, *(["--short"] if options.short else [])], check=True)
    try:
        for result in sorted(measure.RESULTS.glob("*.json")):
            plot(result)
    except ImportError:
        print("no plots: matplotlib is not installed")


if __name__ == "__main__":
    main()
