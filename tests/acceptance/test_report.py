"""The page about a run: what it says, that it asks nobody for anything, and a browser's view."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Database, sha256

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="wants chromium (make test-tools)")
# A user namespace is not to be had as root; the others are so that it asks nobody for anything.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--disable-quic"]  # fmt: skip
HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "\"><svg onload=\"window.hacked = 1\">",
    "<!--<script>",
    "]]>&amp;&lt;b&gt;",
    "new\nline\ttab\x1b[31m\x7f",
    "\u202egnp.exe",
    "{{ 7 * 7 }}{% raise %}${window.hacked = 1}$x_1$",
    "日本語",
]  # fmt: skip


class Outline(HTMLParser):
    """The elements of a page, and its text by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and data.strip():
            self.texts.append((self.elements[-1][0], data))

    def all_of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def prepare(database: Database) -> None:
    """A catalog with something of everything: drift, rot, duplicates, odd names and odd rows."""
    database.make_table("text")
    for n in range(12):
        file = database.root / f"plain-{n:02}"
        file.write_bytes(b"same" * 500 if n < 3 else bytes([n]) * 10 ** (n % 5))
        database.add(f"p{n:02}", file.name, None, "figure" if n % 2 else None)
    database.add("twice", "plain-00")
    for n, name in enumerate(HOSTILE):
        database.add(f"h{n}{name}", name, None, f"<b>{name}")
    os.mkfifo(database.root / "fifo")
    database.add("fifo", "fifo", {"file_size_bytes": "garbage"})
    database.add("list", "plain-01", [1])
    database.run(status=1)
    (database.root / "plain-07").write_bytes(b"changed since")
    rotten = database.sql("SELECT metadata FROM artifacts WHERE id = 'p08'")[0]["metadata"]
    database.sql(
        "UPDATE artifacts SET metadata = metadata || %s::jsonb WHERE id = 'p08'",
        json.dumps({"file_sha256": "0" * 64}),
    )
    assert rotten["file_sha256"] == sha256(database.root / "plain-08")
    (database.root / "plain-09").unlink()
    database.scrub(status=1)
    found = json.loads(database.fasthash("drift", "list", "--open", "--json").stdout)
    assert [d["kind"] for d in found] == ["corrupt"]
    # Long ago, of the future, of no time.
    for row, marker in (("p03", "2020-01-01T00:00:00Z"), ("p04", "2990-01-01T00:00:00Z"),
                        ("p05", "yesterday")):  # fmt: skip
        database.sql(
            "UPDATE artifacts SET metadata = metadata || %s::jsonb WHERE id = %s",
            json.dumps({"file_sha256_computed_at": marker}), row,
        )  # fmt: skip


@pytest.fixture
def everything(copy_of: Callable[[Callable[[Database], None]], Database]) -> Database:
    return copy_of(prepare)


def page_of(database: Database, *arguments: str) -> str:
    return database.fasthash("report", *arguments, "-o", "-").stdout


def facts_of(database: Database, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(database.fasthash("report", *arguments, "--json").stdout)
    return found


def test_the_facts(everything: Database) -> None:
    facts = facts_of(everything)
    summary = json.loads(everything.fasthash("summary", "--json").stdout)
    assert facts["summary"] == summary
    assert facts["run"]["options"]["roots"] == [str(everything.root)]
    assert facts["run"]["hosts"][0]["sessions"] == 1
    assert facts["catalog"]["rows"] == 12 + 1 + len(HOSTILE) + 2
    assert (
        sum(b["rows"] for b in facts["sizes"]) + facts["catalog"]["rows_without_size"]
        == (facts["catalog"]["rows"])
    )
    # The hostile names, the pipe, and the row whose metadata is a list.
    assert facts["catalog"]["rows_without_size"] == len(HOSTILE) + 2
    ages = {age["verified"]: age["rows"] for age in facts["ages"]}
    assert ages == {"day": 10, "week": 0, "month": 0, "quarter": 0, "year": 0, "older": 1,
                    "future": 1, "never": len(HOSTILE) + 3}  # fmt: skip
    assert [(d["kind"], d["resolution"]) for d in facts["drift"]] == [
        ("corrupt", "open"), ("modified", "overwritten"),
    ]  # fmt: skip
    assert facts["drift"][1]["old_hash"] != facts["drift"][1]["new_hash"]
    assert [(r["row_id"], r["reason"]) for r in facts["residual"]] == [("p09", "no_file")]
    group = facts["duplicates"]["top"][0]
    # One path in two rows is one file.
    assert (group["files"], group["rows"], group["could_be_saved_bytes"]) == (3, 4, 4000)
    assert group["examples"] == ["plain-00", "plain-02"]
    assert facts["verdict"]["level"] == "bad"
    assert facts["verdict"]["sentence"].startswith(
        "14 things wait: 1 file that looks damaged, 1 missing file and 12 files that were never"
    )


def test_the_earlier_run(everything: Database) -> None:
    facts = facts_of(everything, "1")
    assert facts["summary"]["run_id"] == 1
    reasons = {r["row_id"]: r["reason"] for r in facts["residual"]}
    assert reasons["fifo"] == "not_regular"
    assert reasons["list"] == "bad_metadata"
    assert sorted(facts["summary"]["residual"].values()) == [1, 1, len(HOSTILE)]
    # What waits of whatever run is in every report of the catalog.
    assert [(d["run_id"], d["resolution"]) for d in facts["drift"]] == [(2, "open")]
    assert "2 files that could not be checked" in facts["verdict"]["sentence"]


def test_all_is_well(database: Database) -> None:
    database.make_table()
    for n in range(3):
        (database.root / f"f{n}").write_bytes(b"x" * n)
        database.add(n, f"f{n}")
    database.run()
    facts = facts_of(database)
    assert facts["verdict"] == {
        "level": "good", "sentence": "All 3 files were verified; nothing waits.", "notes": [],
    }  # fmt: skip
    assert facts["duplicates"] == {"groups": 0, "could_be_saved_bytes": 0, "top": []}
    assert [(s["from_bytes"], s["rows"]) for s in facts["sizes"]] == [(0, 1), (1, 2)]
    page = page_of(database)
    assert "<h1>All 3 files were verified; nothing waits.</h1>" in page
    assert "None was found." in page


def test_sizes_that_no_sum_can_hold(database: Database) -> None:
    database.make_table()
    for n in range(20):
        database.add(n, "gone", {"file_size_bytes": 10**18 - 1, "file_sha256": "0" * 64})
    database.run("--missing-ok")
    assert sum(s["bytes"] for s in facts_of(database)["sizes"]) == 20 * (10**18 - 1)
    page_of(database)


def test_a_rejected_drift_is_a_file_to_restore(everything: Database) -> None:
    drift = facts_of(everything)["drift"][0]["drift_id"]
    everything.fasthash("drift", "reject", str(drift), "--why", "</script>", "--by", "<me>")
    facts = facts_of(everything)
    assert "1 file to restore" in facts["verdict"]["sentence"]
    page = page_of(everything)
    assert "by &lt;me&gt;" in page
    assert "“&lt;/script&gt;”" in page


@pytest.mark.parametrize("metadata_type", ["json", "jsonb"])
def test_a_catalog_of_other_names(database: Database, metadata_type: str) -> None:
    database.sql(
        f'CREATE TABLE "od.d%" ("I d" uuid PRIMARY KEY, k text, p text, m {metadata_type})'
    )
    for n, metadata in enumerate(["NULL", "'{}'", "'7'", "'\"x\"'", "'null'"]):
        (database.root / str(n)).write_bytes(b"content")
        database.sql(
            f'INSERT INTO "od.d%%" VALUES (gen_random_uuid(), %s, %s, {metadata})', "k", str(n)
        )
    columns = ("--id-column", "I d", "--type-column", "k", "--path-column", "p",
               "--metadata-column", "m")  # fmt: skip
    table = ("--table", 'public."od.d%"')
    database.run(*table, *columns, status=1)
    facts = facts_of(database, *columns)
    assert facts["catalog"]["rows"] == 5
    assert facts["summary"]["catalog"] == 'public."od.d%"'
    assert facts["duplicates"]["top"][0]["files"] == 2
    assert "<h1>3 things wait: 3 files that could not be checked.</h1>" in page_of(
        database, *columns
    )


def work_by(database: Database, *spans: tuple[int, int]) -> None:
    """Samples of run 2: coordinators at work from one second to another, ten rows a second."""
    database.sql("DELETE FROM fasthash.sample")
    database.sql("DELETE FROM fasthash.holder WHERE run_id = 2")
    for holder, (first, last) in enumerate(spans, 100):
        database.sql(
            "INSERT INTO fasthash.holder (holder_id, run_id, host, pid, started_at) "
            "OVERRIDING SYSTEM VALUE VALUES (%s, 2, 'h', 1, '2026-01-01'::timestamptz "
            "+ %s * interval '1 second')", holder, first,
        )  # fmt: skip
        database.sql(
            "INSERT INTO fasthash.sample SELECT 2, %s, '2026-01-01'::timestamptz + g * interval "
            "'1 second', (g - %s) * 10, (g - %s) * 1000 "
            "FROM generate_series(%s::int, %s::int, 5) g",
            holder, first, first, first + 5, last,
        )  # fmt: skip


def test_speed_is_what_the_samples_say(everything: Database) -> None:
    """Two coordinators; the pieces add up to what was done."""
    work_by(everything, (0, 3600), (1800, 7200))
    pieces = facts_of(everything, "2")["throughput"]
    assert len(pieces) == 120
    assert sum(p["seconds"] for p in pieces) == pytest.approx(7200)
    rates = [p["rows_per_s"] for p in pieces]
    assert rates == pytest.approx([10] * 30 + [20] * 30 + [10] * 60)
    assert [p["bytes_per_s"] for p in pieces] == pytest.approx([100 * r for r in rates])
    assert 'alt="Curves of the speed over 2 h 00 min: 12 rows a second on average and 20' in (
        page_of(everything, "2")
    )


def test_speed_is_of_the_time_at_work(everything: Database) -> None:
    """An hour in each of two nights."""
    work_by(everything, (0, 3600), (8 * 3600, 9 * 3600))
    pieces = facts_of(everything, "2")["throughput"]
    assert sum(p["seconds"] for p in pieces) == pytest.approx(7200)
    assert [p["rows_per_s"] for p in pieces] == pytest.approx([10] * len(pieces))
    page = page_of(everything, "2")
    assert 'alt="Curves of the speed over 2 h 00 min: 10 rows a second on average' in page


def test_what_a_run_held_and_another_wrote(database: Database) -> None:
    """Told once while it waits, and not at all once it does not."""
    database.make_table()
    (database.root / "f").write_text("x")
    database.add(1, "f", {"file_sha256": "0" * 64})
    database.run("--on-drift", "hold", status=1)
    sentence = "1 thing waits: 1 changed hash to decide about."
    assert facts_of(database)["verdict"]["sentence"] == sentence
    database.run(status=1)
    for run_id in ("1", "2"):
        verdict = facts_of(database, run_id)["verdict"]
        assert (verdict["level"], verdict["sentence"]) == (
            "good", "The one file was verified; nothing waits."
        ), run_id  # fmt: skip


def test_a_pipe_is_written_to(everything: Database) -> None:
    """As `-o >(gzip ..)` is one."""
    reads, writes = os.pipe()
    command = everything.command("report", "-o", f"/dev/fd/{writes}")
    process = subprocess.Popen(command, env=everything.env(), pass_fds=[writes])
    os.close(writes)
    with open(reads, encoding="utf-8") as pipe:
        page = pipe.read()
    assert process.wait() == 0
    assert page.rstrip().endswith("</html>")


def test_it_names_nobody_and_loads_nothing(everything: Database) -> None:
    page = page_of(everything)
    outline = Outline(page)
    assert {tag for tag, _ in outline.elements} & {
        "iframe",
        "object",
        "embed",
        "a",
        "form",
    } == set()
    for tag, attributes in outline.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    pictures = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", page)
    assert len(pictures) == 4, "sizes and ages, each light and dark; the run was too short for more"
    import base64

    for picture in pictures:
        svg = base64.b64decode(picture).decode()
        assert set(re.findall(r"https?://[^\"'\s]+", svg)) <= {
            "http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg",
        }  # fmt: skip
        assert re.search(r"font[^;']*sans-serif", svg)
        assert "DejaVu" not in svg
    rest = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.findall(r"(?:https?:)?//[a-z]", re.sub(r"<script>.*", "", rest, flags=re.DOTALL))
    policy = next(m["content"] for m in outline.all_of("meta") if "http-equiv" in m)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for heading in outline.all_of("img"):
        assert heading["alt"]


def test_hostile_names_are_text(everything: Database) -> None:
    page = page_of(everything, "1")
    outline = Outline(page)
    # Of ours: a script a table, and one that makes them live.
    listings = len(re.findall(r'<div class="listing"', page))
    assert len(outline.all_of("script")) == listings + 1
    assert len(outline.all_of("img")) == 2
    assert "window.hacked = 1</script>" not in page
    assert not {chr(c) for c in (*range(9), *range(11, 32), *range(127, 160), 0x202E)} & set(page)
    scripts = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    every = [row for script in scripts for row in json.loads(script)]
    paths = {row[2] for row in every if len(row) == 5 and isinstance(row[2], str)}
    assert "</script><script>window.hacked = 1</script>" in paths
    assert "new\\x0aline\\x09tab\\x1b[31m\\x7f" in paths
    assert "\\u202egnp.exe" in paths


def test_a_file_is_replaced_whole(everything: Database, tmp_path: Path) -> None:
    target, link = tmp_path / "report.html", tmp_path / "link.html"
    target.write_text("old")
    target.chmod(0o604)
    link.symlink_to(target)
    said = everything.fasthash("report", "-o", str(link)).stdout
    assert said.startswith(f"{link}: run 2 of public.artifacts: 14 things wait")
    assert link.is_symlink()
    assert target.read_text().rstrip().endswith("</html>")
    assert target.stat().st_mode & 0o777 == 0o604
    assert not list(tmp_path.glob(".*.new"))
    # What cannot be made leaves what was there.
    everything.sql("DROP TABLE artifacts")
    done = everything.fasthash("report", "-o", str(target), status=2)
    assert done.stderr == "fasthash: run 2 was about public.artifacts, which is gone\n"
    assert "</html>" in target.read_text()
    assert not list(tmp_path.glob(".*.new"))


def test_mistakes(everything: Database, tmp_path: Path) -> None:
    def complaint(*arguments: str, status: int = 2) -> str:
        done = everything.fasthash("report", *arguments, status=status)
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr

    assert "say where to: -o report.html" in complaint()
    assert "--json and -o exclude each other" in complaint("--json", "-o", "x")
    assert "there is no run 9" in complaint("9", "-o", str(tmp_path / "x"))
    assert "no run of table nothing yet" in complaint("--table", "nothing", "--json")
    assert "cannot write" in complaint("-o", str(tmp_path / "no" / "such"))
    assert "Is a directory" in complaint("-o", str(tmp_path))
    assert "has no column nope" in complaint("--id-column", "nope", "--json", status=4)
    assert not (tmp_path / "x").exists()


def test_without_the_extra(everything: Database, tmp_path: Path) -> None:
    (tmp_path / "jinja2.py").write_text("raise ModuleNotFoundError('no', name='jinja2')")
    everything.environment["PYTHONPATH"] = str(tmp_path)
    everything.by_process = True
    done = everything.fasthash("report", "-o", str(tmp_path / "page"), status=2)
    assert done.stderr == "fasthash: the page needs jinja2: pip install jinja2 matplotlib\n"
    assert not (tmp_path / "page").exists()
    assert facts_of(everything)["summary"]["run_id"] == 2, "which needs no page"


def test_it_reads_one_moment_and_writes_nothing(everything: Database) -> None:
    """A role that may only read, in a database that refuses whatever else."""
    name = everything.sql("SELECT current_database() AS name")[0]["name"]
    before = everything.sql("SELECT sum(hashtext(a::text)) AS n FROM artifacts a")
    everything.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert facts_of(everything)["catalog"]["rows"] == 24
    assert before == everything.sql("SELECT sum(hashtext(a::text)) AS n FROM artifacts a")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


Open = Callable[..., "Page"]


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a page, and sees in the end that it was quiet, alone, and ran nothing of others."""
    pages: list[Page] = []
    said: list[str] = []
    asked: list[str] = []
    context = browser.new_context()

    def open_page(text: str, width: int = 1280, mode: Any = "light") -> Page:
        (tmp_path / "page.html").write_text(text, encoding="utf-8")
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=mode)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "page.html").as_uri())
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.evaluate("window.hacked") is None
    assert said == []
    own = (tmp_path / "page.html").as_uri()
    assert [url for url in asked if url != own and not url.startswith("data:image/svg")] == []
    context.close()


def cells(page: Page, listing: str, column: str) -> list[str]:
    return page.locator(f"[data-look={listing}] tbody td[data-name='{column}']").all_inner_texts()


@needs_browser
def test_in_a_browser(everything: Database, open_page: Open) -> None:
    everything.sql(
        "UPDATE fasthash.checkpoint SET hashed = hashed + 100 WHERE artifact_type = 'figure'"
    )
    page = open_page(page_of(everything, "1"))
    assert page.title() == "public.artifacts: run 1, fasthash report"
    assert all(
        page.locator("img").nth(n).evaluate("image => image.naturalWidth") > 100
        for n in range(page.locator("img").count())
    )
    # Sorted by number, not by text; by keyboard; and the other way round.
    rows = page.locator("[data-look=types] th", has_text="rows")
    rows.locator("button").focus()
    page.keyboard.press("Enter")
    assert rows.get_attribute("aria-sort") == "ascending"
    counted = [int(n) for n in cells(page, "types", "rows")]
    assert counted == sorted(counted)
    assert counted != sorted(counted, key=str)
    page.keyboard.press("Enter")
    assert rows.get_attribute("aria-sort") == "descending"
    assert [int(n) for n in cells(page, "types", "rows")] == sorted(counted, reverse=True)
    # Filtered by words of any column.
    filter_box = page.locator("[data-look=residual] input")
    filter_box.fill("NO_file  日本")
    assert cells(page, "residual", "path") == ["日本語"]
    assert page.locator("[data-look=residual] .found").inner_text() == "1 of 11 rows"
    filter_box.fill("</script><script>")
    assert cells(page, "residual", "path") == [HOSTILE[0]]
    filter_box.fill("nothing like it")
    assert cells(page, "residual", "path") == []
    filter_box.fill("")
    assert len(cells(page, "residual", "path")) == 11


@needs_browser
def test_light_and_dark_and_narrow(everything: Database, open_page: Open) -> None:
    text = page_of(everything)
    ground = "getComputedStyle(document.body).backgroundColor"
    source = "document.querySelector('picture img').currentSrc.length + ':' + " \
             "document.querySelector('picture img').currentSrc"  # fmt: skip
    light, dark = open_page(text), open_page(text, mode="dark")
    assert light.evaluate(ground) != dark.evaluate(ground)
    assert light.evaluate(source) != dark.evaluate(source)
    for width in (390, 320):
        phone = open_page(text, width)
        assert phone.evaluate("document.documentElement.scrollWidth") == width
        inner = (
            "[...document.querySelectorAll('.scroll')].every(s => s.scrollWidth <= s.clientWidth)"
        )
        assert phone.evaluate(inner)


@needs_browser
def test_a_hundred_thousand_rows(everything: Database, open_page: Open) -> None:
    everything.sql(
        "INSERT INTO fasthash.residual SELECT 2, 'r' || g, 'figure', 'archive/lab-' || g % 400 || "
        "'/figure-' || g || '.png', 'no_file', 'ENOENT: No such file or directory' "
        "FROM generate_series(1, 100000) g"
    )
    everything.sql(
        "UPDATE fasthash.checkpoint SET no_file = no_file + 100000 WHERE (run_id, range_no) = "
        "(SELECT run_id, min(range_no) FROM fasthash.checkpoint WHERE run_id = 2 GROUP BY 1)"
    )
    text = page_of(everything)
    assert "These are the first 100 of 100,001 rows" in text
    page = open_page(text)
    where = page.locator("[data-look=residual] .where")
    assert where.inner_text() == "1–100 of 100,001"
    page.locator("[data-look=residual] [data-go=on]").click()
    assert where.inner_text() == "101–200 of 100,001"
    page.locator("[data-look=residual] [data-go=last]").click()
    assert where.inner_text() == "100,001–100,001 of 100,001"
    assert len(cells(page, "residual", "path")) == 1
    page.locator("[data-look=residual] input").fill("figure-77777.png")
    assert cells(page, "residual", "row") == ["r77777"]
    page.locator("[data-look=residual] input").fill("lab-7/")
    page.locator("[data-look=residual] th button", has_text="row").click()
    found = cells(page, "residual", "row")
    assert found == sorted(found)
    assert where.inner_text() == "1–100 of 250"


@needs_browser
def test_without_javascript(everything: Database, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page_of(everything, "1"), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert len(cells(page, "residual", "path")) == 11
    assert not page.locator("[data-look=residual] input").is_visible()
    assert not page.locator("[data-look=residual] .pager").is_visible()
    context.close()
