"""`fasthash report`: the facts, and the page in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Database, sha256

from fasthash.report import facts as facts_module
from fasthash.report.charts import _up_to
from fasthash.report.facts import ages_of, sizes_of

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium (Debian: chromium)")
# As root it runs only without its sandbox; and it is to ask nobody anything by itself.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic",
]  # fmt: skip
OLD = (1_600_000_000, 1_600_000_000)
HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>\n\u202e\"'&.png"
)


@pytest.fixture
def catalog(database: Database) -> Database:
    """Two types, a duplicate, a corrupt file, a changed one, missing ones with hostile names."""
    database.make_table()
    for n in range(30):
        path = database.root / f"f{n}"
        path.write_text("same" if n < 3 else "x" * 10 ** (n % 6))
        os.utime(path, OLD)
        database.add(n, path.name, artifact_type="figure" if n % 2 else HOSTILE)
    database.run()
    for n in (4, 5):
        (database.root / f"f{n}").write_text("changed")
    database.add(40, f"missing {HOSTILE}")
    database.add(41, "never", {"file_size_bytes": "garbage", "file_sha256_computed_at": 7})
    (database.root / "f6").unlink()
    database.scrub("--on-drift", "hold", status=1)
    return database


def facts_of(database: Database, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(database.fasthash("report", "--json", *arguments).stdout)
    return found


def test_the_facts(catalog: Database) -> None:
    facts = facts_of(catalog)
    assert facts["summary"] == json.loads(catalog.fasthash("summary", "--json").stdout)
    assert facts["verdict"]["level"] == "attention"
    assert facts["verdict"]["sentence"] == "27 of 30 files were read again and are as recorded."
    assert facts["verdict"]["look_at"] == [
        "2 files with another content wait for a decision",
        "1 file is missing",
    ]
    assert {d["row_id"] for d in facts["drifts"]} == {"4", "5"}
    assert [r["row_id"] for r in facts["residual"]] == ["6"]
    whole = facts["catalog"]
    assert (whole["rows"], whole["rows_marked"]) == (32, 30)
    sizes = [(catalog.root / f"f{n}").stat().st_size for n in range(30) if n not in (4, 5, 6)]
    assert whole["bytes_recorded"] == sum(sizes) + 10**4 + 10**5 + 1
    assert sum(bar["rows"] for bar in whole["sizes"]) == 30
    ages = {a["verified"]: a["rows"] for a in whole["ages"]}
    assert ages[facts_module.YOUNGEST] == 30
    assert ages[facts_module.NEVER] == 2, "a marker that is none is none"
    (largest, *_) = whole["duplicates"]
    assert largest["digest"] == sha256(catalog.root / "f11")
    assert largest["could_be_saved_bytes"] == 10**5 * (largest["copies"] - 1)
    assert whole["duplicate_groups"] == 7
    listed = json.loads(
        catalog.fasthash("duplicates", "--root", str(catalog.root), "--json").stdout
    )
    assert whole["duplicate_bytes"] == sum(group["could_be_saved_bytes"] for group in listed)


def test_a_catalog_that_cannot_be_read_leaves_the_ledger(catalog: Database) -> None:
    catalog.sql("ALTER TABLE artifacts RENAME TO elsewhere")
    facts = facts_of(catalog)
    assert facts["catalog"] is None
    assert "artifacts" in facts["catalog_problem"]
    assert facts["summary"]["rows_scanned"] == 30
    page = catalog.fasthash("report", "-o", "-").stdout
    assert "Not told" in page


def test_json_metadata_and_odd_rows_are_counted(database: Database) -> None:
    database.make_table(metadata_type="json")
    (database.root / "f").write_text("x")
    database.add(1, "f")
    database.add(2, "f", [1])
    database.add(3, None)
    database.run(status=1)
    facts = facts_of(database)
    assert facts["catalog"]["rows"] == 2
    assert facts["verdict"]["look_at"] == ["1 file could not be verified"]


def test_the_page_is_whole_and_replaced_at_once(catalog: Database, tmp_path: Path) -> None:
    page = tmp_path / "out" / "report.html"
    assert "cannot write" in catalog.fasthash("report", "-o", str(page), status=2).stderr
    page.parent.mkdir()
    page.write_text("old")
    done = catalog.fasthash("report", "1", "-o", str(page))
    assert done.stdout == f"run 1: {page}\n"
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert text.rstrip().endswith("</html>")
    assert os.listdir(page.parent) == ["report.html"]
    os.umask(mask := os.umask(0))
    assert page.stat().st_mode & 0o777 == 0o666 & ~mask
    assert catalog.fasthash("report", "1", "-o", "-").stdout.startswith("<!doctype html>")
    # Nothing is fetched from anywhere, and no name is markup.
    assert not re.search(r"(?:src|href|srcset)=\"(?!data:)", text)
    assert "http" not in re.sub(r"data:image/svg\+xml;base64,[\w+/=]+|http-equiv", "", text)
    assert "<img src=x" not in text
    assert "\u202e" not in text


def test_a_missing_extra_is_named(catalog: Database) -> None:
    code = (
        "import sys; sys.modules['jinja2'] = None; from fasthash.cli import main;"
        "main(['report', '-o', '-'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=catalog.env(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 'fasthash[report]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield running
        running.close()


class Seen:
    """A page in a browser, with what it asked for and complained of."""

    def __init__(self, browser: Any, path: Path, **context: Any) -> None:
        self.page = browser.new_context(**context).new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("console", lambda m: self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.goto(path.as_uri())

    def column(self, table: str, number: int) -> list[str]:
        found: list[str] = self.page.locator(
            f"#{table} tbody td:nth-child({number})"
        ).all_inner_texts()
        return found

    @property
    def background(self) -> str:
        found: str = self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return found


@needs_browser
def test_the_page_in_a_browser(catalog: Database, tmp_path: Path, browser: Any) -> None:
    page = tmp_path / "report.html"
    catalog.fasthash("report", "-o", str(page))
    seen = Seen(browser, page, color_scheme="light", viewport={"width": 1200, "height": 900})
    assert [r for r in seen.requests if not r.startswith("data:")] == [page.as_uri()]
    assert seen.complaints == []
    assert seen.page.evaluate("window.hacked") is None
    assert seen.page.locator("h2").first.inner_text().startswith("27 of 30 files")
    assert "</script><script>" in seen.column("types", 1)[0]
    images = seen.page.locator("img")
    assert images.count() >= 2
    assert all(images.nth(n).evaluate("i => i.naturalWidth > 100") for n in range(images.count()))
    # Sorting goes by numbers as numbers, and a second click turns it around.
    rows = seen.column("duplicates", 1)
    seen.page.locator("#duplicates th button", has_text="Could be saved").click()
    assert seen.column("duplicates", 1) == rows[::-1]
    assert seen.page.locator("#duplicates th").first.get_attribute("aria-sort") == "ascending"
    seen.page.keyboard.press("Enter")
    assert seen.column("duplicates", 1) == rows
    seen.page.locator("#types input").fill("FIGURE")
    assert seen.column("types", 1) == ["figure"]
    assert seen.page.locator("#types output").inner_text() == "1 of 2"
    dark = Seen(browser, page, color_scheme="dark")
    assert dark.background != seen.background
    phone = Seen(browser, page, viewport={"width": 390, "height": 844})
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 390
    plain = Seen(browser, page, java_script_enabled=False)
    assert len(plain.page.locator("#drifts tbody tr").all()) == 2


@needs_browser
def test_a_hundred_thousand_rows_stay_usable(
    database: Database, tmp_path: Path, browser: Any
) -> None:
    database.make_table()
    database.run()
    database.sql(
        "INSERT INTO fasthash.residual SELECT 1, n::text, 'type ' || n % 7, "
        "'/data/a/rather/long/path/of/a/store/' || n || '.parquet', 'no_file', "
        "'ENOENT: No such file or directory' FROM generate_series(1, 100000) n"
    )
    page = tmp_path / "report.html"
    catalog_page = database.fasthash("report", "-o", str(page))
    assert catalog_page.returncode == 0
    assert page.stat().st_size < 20_000_000
    seen = Seen(browser, page)
    assert seen.page.locator("#residual output").inner_text() == "1\N{EN DASH}100 of 100,000"
    assert len(seen.column("residual", 1)) == 100
    seen.page.locator("#residual .on").click()
    assert seen.page.locator("#residual output").inner_text() == "101\N{EN DASH}200 of 100,000"
    seen.page.locator("#residual input").fill("/99999.")
    assert seen.column("residual", 1) == ["99999"]
    seen.page.locator("#residual input").fill("nowhere")
    assert seen.page.locator("#residual output").inner_text() == "0 of 100,000"
    seen.page.locator("#residual input").fill("")
    for _ in range(2):
        seen.page.locator("#residual th button", has_text="Row").click()
    assert seen.column("residual", 1)[:2] == ["100000", "99999"]
    assert seen.complaints == []


def test_bars_of_sizes_have_no_gaps() -> None:
    classes = [
        {"size_digits": None, "rows": 9, "bytes": 0},
        {"size_digits": 1, "rows": 2, "bytes": 3},
        {"size_digits": 3, "rows": 1, "bytes": 500},
        {"size_digits": 1, "rows": 1, "bytes": 9},
    ]
    bars = sizes_of(classes)
    assert [(b["from_bytes"], b["to_bytes"], b["rows"], b["bytes"]) for b in bars] == [
        (0, 10, 3, 12),
        (10, 100, 0, 0),
        (100, 1000, 1, 500),
    ]
    assert sizes_of([]) == []
    assert [_up_to(b) for b in bars] == ["< 10 B", "10\N{EN DASH}100 B", "100 B\N{EN DASH}1 kB"]


def test_ages_begin_with_the_youngest() -> None:
    found = ages_of(
        [{"age_class": n, "rows": n + 1} for n in range(7)] + [{"age_class": None, "rows": 9}]
    )
    assert [a["rows"] for a in found] == [7, 6, 5, 4, 3, 2, 1, 9]
    assert found[0]["verified"] == facts_module.YOUNGEST
