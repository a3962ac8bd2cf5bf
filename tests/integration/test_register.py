"""`fasthash register`: tables of every shape, names of every shape, again and side by side."""

from __future__ import annotations

import json
import os
import shlex
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import PATIENCE_S, Database

from fasthash import paths, register
from fasthash.excluding import excluded_by
from fasthash.register import Walk

HOSTILE = 'we"ird; DROP TABLE x; -- %s %% \\ é\n$1'
HOSTILE_NAMES = [
    b"plain", b"new\nline", b"tab\t", b"back\\slash", b"\\N", b"\\.", b"quote'\"", b"percent%s%%",
    b"\xff\xfe not UTF-8", "\N{LATIN SMALL LETTER E WITH ACUTE}".encode(), b"\r", b" ", b"\x01",
]  # fmt: skip
KEYS = [
    "directory", "files", "added", "already_there", "skipped", "excluded",
    "unreadable_directories", "table_created",
]  # fmt: skip


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def add(database: Database, *arguments: str, folder: Path | None = None) -> dict[str, Any]:
    """`fasthash register --json` of the root, or of another directory."""
    done = database.fasthash("register", "--json", str(folder or database.root), *arguments)
    answer: dict[str, Any] = json.loads(done.stdout)
    assert list(answer) == KEYS
    assert answer["files"] == answer["added"] + answer["already_there"]
    return answer


def refused(database: Database, *arguments: str, status: int = 4) -> str:
    """The one line that a refused `fasthash register` of the root says."""
    done = database.fasthash("register", str(database.root), *arguments, status=status)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def rows(database: Database) -> list[tuple[str | None, str]]:
    found = database.sql("SELECT artifact_type AS t, file_path AS p FROM artifacts ORDER BY id")
    return [(row["t"], row["p"]) for row in found]


@pytest.fixture
def tree(database: Database) -> Database:
    """Four files: one directly in the root, the others in two folders."""
    for name in ("top", "figures/a.png", "figures/deep/er/b.png", "models/m"):
        file = database.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return database


def test_from_nothing_to_a_run(tree: Database) -> None:
    tree.sql("DROP SCHEMA fasthash CASCADE")
    done = tree.fasthash("register", os.path.relpath(tree.root))
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "made table artifacts",
        f"{tree.root}: 4 files, 4 added to artifacts, 0 already there",
        "next: fasthash run",
    ]
    assert rows(tree) == [
        ("figures", f"{tree.root}/figures/a.png"),
        ("figures", f"{tree.root}/figures/deep/er/b.png"),
        ("models", f"{tree.root}/models/m"),
        (None, f"{tree.root}/top"),
    ]
    assert tree.sql("SELECT DISTINCT metadata, content_hash FROM artifacts") == [
        {"metadata": {}, "content_hash": None}
    ]
    assert tree.sql("SELECT path, host FROM fasthash.root") == [
        {"path": str(tree.root), "host": socket.gethostname()}
    ]
    summary = json.loads(tree.fasthash("run", "--json").stdout)
    assert summary["outcomes"]["hashed"] == 4
    assert set(summary["by_type"]) == {"figures", "models", "(none)"}


def test_again_adds_what_is_new(tree: Database) -> None:
    assert add(tree) == {
        "directory": str(tree.root), "files": 4, "added": 4, "already_there": 0, "skipped": 0,
        "excluded": 0, "unreadable_directories": 0, "table_created": True,
    }  # fmt: skip
    tree.fasthash("run")
    before = tree.sql("SELECT id, xmin::text, metadata FROM artifacts ORDER BY id")
    (tree.root / "models" / "new").write_text("new")
    again = add(tree)
    assert (again["added"], again["already_there"], again["table_created"]) == (1, 4, False)
    after = tree.sql("SELECT id, xmin::text, metadata FROM artifacts ORDER BY id")
    assert after[:4] == before
    assert add(tree)["added"] == 0


def test_overlapping_directories(tree: Database) -> None:
    assert add(tree, folder=tree.root / "figures")["added"] == 2
    assert add(tree)["added"] == 2
    assert add(tree, folder=tree.root / "figures" / "deep")["added"] == 0
    assert len({path for _, path in rows(tree)}) == len(rows(tree)) == 4
    assert tree.sql("SELECT count(*) AS n FROM fasthash.root")[0]["n"] == 3
    summary = json.loads(tree.fasthash("run", "--json").stdout)
    assert summary["outcomes"]["hashed"] == 4


def test_side_by_side(tree: Database) -> None:
    tree.sql("DROP SCHEMA fasthash CASCADE")
    for n in range(500):
        (tree.root / "models" / str(n)).touch()
    command = tree.command("register", "--json", str(tree.root))
    running = [
        subprocess.Popen(command, env=tree.env(), stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = [json.loads(process.communicate(timeout=PATIENCE_S)[0]) for process in running]
    assert sum(answer["added"] for answer in answers) == 504
    assert sum(answer["table_created"] for answer in answers) == 1
    assert len({path for _, path in rows(tree)}) == len(rows(tree)) == 504


def test_names_of_every_shape(database: Database) -> None:
    for name in HOSTILE_NAMES:
        folder = os.fsencode(database.root) + b"/" + name
        os.mkdir(folder)
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(name)
    assert add(database)["added"] == len(HOSTILE_NAMES)
    wanted = {os.fsencode(database.root) + b"/" + name + b"/" + name for name in HOSTILE_NAMES}
    assert {paths.decode(path) for _, path in rows(database)} == wanted
    types = {artifact_type for artifact_type, _ in rows(database)}
    assert {"plain", "new\nline", "\\N", "\\xff\\xfe not UTF-8"} < types
    assert add(database)["added"] == 0
    summary = json.loads(database.fasthash("run", "--json").stdout)
    assert summary["outcomes"]["hashed"] == len(HOSTILE_NAMES)
    below = os.fsdecode(os.fsencode(database.root) + b"/\xff\xfe not UTF-8")
    done = database.fasthash("register", below)
    assert "1 file, 0 added" in done.stdout
    assert "%FF%FE" in done.stdout
    roots = {r["path"] for r in database.sql("SELECT path FROM fasthash.root")}
    assert {paths.decode(root) for root in roots} == {
        os.fsencode(database.root),
        os.fsencode(below),
    }
    database.fasthash("run")


def test_what_is_no_file_is_skipped(tree: Database) -> None:
    os.mkfifo(tree.root / "fifo")
    os.symlink("top", tree.root / "link")
    os.symlink("nowhere", tree.root / "broken")
    os.symlink("..", tree.root / "figures" / "loop")
    with socket.socket(socket.AF_UNIX) as server:
        place = os.open(tree.root, os.O_PATH)
        server.bind(f"/proc/self/fd/{place}/socket")
        os.close(place)
        assert add(tree)["skipped"] == 5
        done = tree.fasthash("register", str(tree.root))
    assert "skipped: 3 symbolic links, 2 special files" in done.stdout
    assert len(rows(tree)) == 4


def test_directories_that_cannot_be_read(tree: Database) -> None:
    """Root reads all that has a mode; but nobody lists a path that is longer than PATH_MAX."""
    folder = os.open(tree.root, os.O_RDONLY)
    length = len(os.fsencode(tree.root))
    while length + 101 < 4096 - 10:
        length += 101
        folder = descend(folder, "d" * 100)
    os.close(os.open("file", os.O_CREAT, dir_fd=folder))
    folder = descend(folder, "e" * 100)
    os.close(os.open("beyond", os.O_CREAT, dir_fd=folder))
    os.close(folder)
    done = tree.fasthash("register", "--json", str(tree.root), status=1)
    answer = json.loads(done.stdout)
    assert answer["added"] == 5
    assert answer["unreadable_directories"] == 1
    assert len(done.stderr.splitlines()) == 1
    assert "WARNING cannot read directory" in done.stderr
    assert "e" * 100 in done.stderr
    assert max(len(path) for _, path in rows(tree)) > 3900
    assert json.loads(tree.fasthash("run", "--json").stdout)["outcomes"]["hashed"] == 5


def descend(folder: int, name: str) -> int:
    """Makes a directory and opens it in place of its parent."""
    os.mkdir(name, dir_fd=folder)
    below = os.open(name, os.O_RDONLY, dir_fd=folder)
    os.close(folder)
    return below


@pytest.mark.skipif(os.geteuid() == 0, reason="wants an ordinary user")
def test_directories_that_must_not_be_read(tree: Database) -> None:
    closed = tree.root / "models"
    closed.chmod(0)
    try:
        done = tree.fasthash("register", "--json", str(tree.root), status=1)
        assert "Permission denied" in done.stderr
        assert json.loads(done.stdout)["unreadable_directories"] == 1
        assert len(rows(tree)) == 3
        line = refused(Database(tree.dsn, closed))
        assert "Permission denied" in line
    finally:
        closed.chmod(stat.S_IRWXU)


def test_a_walk_below_its_streamed_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register, "STREAMED_LEVELS", 3)
    folder = tmp_path
    for _ in range(40):
        folder /= "d"
        folder.mkdir()
        (folder / "f").touch()
        (folder / "e").mkdir()
        (folder / "e" / "f").touch()
    before = len(os.listdir("/proc/self/fd"))
    walk = Walk(os.fsencode(tmp_path), lambda _: False)
    found = []
    for path in walk:
        found.append(path)
        assert len(os.listdir("/proc/self/fd")) <= before + 4
    assert len(found) == len(set(found)) == walk.files == 80
    assert walk.unreadable == 0


def test_type_for_all(tree: Database) -> None:
    add(tree, "--type", "all of them")
    assert {t for t, _ in rows(tree)} == {"all of them"}
    for bad in ("", "two\nlines", os.fsdecode(b"\xff")):
        assert "--type" in refused(tree, "--type", bad, status=2)


def test_one_path_for_one_directory(tree: Database) -> None:
    add(tree)
    for spelling in (f"//{tree.root}", f"{tree.root}/", f"{tree.root}/figures/../.."):
        done = tree.fasthash("register", "--json", spelling)
        assert json.loads(done.stdout)["added"] == 0
    # By a link it is another directory with other files, as far as the paths go.
    link = tree.root.with_name("link")
    link.symlink_to(tree.root)
    assert add(tree, folder=link)["directory"] == str(link)
    assert len(rows(tree)) == 8


def test_the_embedded_server_is_left_out(tree: Database) -> None:
    home = tree.root / "models"
    tree.environment["FASTHASH_DATA_DIR"] = str(home)
    assert add(tree)["files"] == 3
    link = tree.root.with_name("link")
    link.symlink_to(tree.root)
    assert add(tree, folder=link)["files"] == 3
    assert add(tree, folder=home)["files"] == 1


def test_tables_that_exist(tree: Database) -> None:
    ids = [
        "uuid PRIMARY KEY",
        "text PRIMARY KEY",
        "text UNIQUE",
        "varchar(36) PRIMARY KEY",
        "bigserial PRIMARY KEY",
        "uuid PRIMARY KEY DEFAULT gen_random_uuid()",
        "integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    ]
    for n, id_column in enumerate(ids):
        tree.sql(
            f"CREATE TABLE t{n} (file_path varchar(300) NOT NULL, metadata json NOT NULL, "
            f"note text NOT NULL DEFAULT 'n', id {id_column}, artifact_type varchar(20))"
        )
        answer = add(tree, "--table", f"t{n}")
        assert (answer["added"], answer["table_created"]) == (4, False), id_column
        found = tree.sql(f"SELECT id, note FROM t{n}")
        assert len({row["id"] for row in found} - {None}) == 4, id_column
        assert {row["note"] for row in found} == {"n"}
    assert add(tree, "--table", "t0")["added"] == 0
    summary = json.loads(tree.fasthash("run", "--json", "--table", "t0").stdout)
    assert summary["outcomes"]["hashed"] == 4


def test_tables_that_take_no_files(tree: Database) -> None:
    tree.sql("CREATE TYPE kind AS ENUM ('models', 'x')")
    cases = {
        "id bigint PRIMARY KEY, artifact_type text, file_path text": ["id", "bigint", "default"],
        "id uuid PRIMARY KEY, artifact_type text, file_path text, owner text NOT NULL, "
        '"Odd one" int NOT NULL, fine int NOT NULL DEFAULT 1, empty int': ["owner, Odd one;"],
        "id uuid PRIMARY KEY, artifact_type text, file_path varchar(9)": ["too long"],
        "id uuid PRIMARY KEY, artifact_type text NOT NULL, file_path text": ["NULL", "--type"],
        "id uuid PRIMARY KEY, artifact_type kind, file_path text": ["enum kind", "figures"],
        "id varchar(9) PRIMARY KEY, artifact_type text, file_path text": ["too long"],
        "id uuid, artifact_type text, file_path text": ["unique"],
    }
    for n, (columns, words) in enumerate(cases.items()):
        tree.sql(f"CREATE TABLE t{n} ({columns}, metadata jsonb)")
        line = refused(tree, "--table", f"t{n}")
        for word in words:
            assert word in line
        assert tree.sql(f"SELECT count(*) AS n FROM t{n}")[0]["n"] == 0
    assert tree.sql("SELECT count(*) AS n FROM fasthash.root")[0]["n"] == 0


def test_an_enum_and_a_column_for_all(tree: Database) -> None:
    tree.sql("CREATE TYPE kind AS ENUM ('models', 'x')")
    tree.sql(
        "CREATE TABLE artifacts (id uuid PRIMARY KEY, artifact_type kind NOT NULL, "
        "file_path char(200), metadata jsonb)"
    )
    assert add(tree, "--type", "x")["added"] == 4
    assert add(tree, "--type", "models")["added"] == 0


def test_a_table_in_another_schema(tree: Database) -> None:
    schema, table = f"{HOSTILE}.s", f"{HOSTILE}.t"
    columns = {c: f"{HOSTILE} {c}" for c in ("id", "type", "path", "metadata")}
    arguments = ["--table", f"{quoted(schema)}.{quoted(table)}"]
    for name, column in columns.items():
        arguments += [f"--{name}-column", column]
    assert "CREATE SCHEMA" in refused(tree, *arguments)
    with tree.connect() as connection:
        connection.execute(f"CREATE SCHEMA {quoted(schema)}".encode())
    done = tree.fasthash("register", str(tree.root), *arguments)
    again = add(tree, *arguments)
    assert (again["already_there"], again["table_created"]) == (4, False)
    program, *command = shlex.split(done.stdout.partition("next: ")[2].replace("\\x0a", "\n"))
    assert program == "fasthash"
    summary = json.loads(tree.fasthash(*command, "--json").stdout)
    assert summary["outcomes"]["hashed"] == 4


def test_names_that_clash_with_our_own(tree: Database) -> None:
    arguments = ["--table", "files", "--path-column", "content_hash", "--id-column", "ID"]
    assert add(tree, *arguments)["table_created"] is True
    assert add(tree, *arguments)["already_there"] == 4
    found = tree.sql("SELECT * FROM files")
    assert set(found[0]) == {"ID", "artifact_type", "content_hash", "metadata"}
    line = refused(tree, "--table", "other", "--path-column", "id")
    assert "specified more than once" in line


@pytest.fixture
def stranger(tree: Database) -> Iterator[Database]:
    """The database under a role that may do nothing but log in."""
    role = quoted(f'o"dd {tree.root.name}')
    tree.sql(f"CREATE ROLE {role} LOGIN")
    tree.sql(f"REVOKE ALL ON DATABASE {tree.root.name} FROM PUBLIC")
    tree.sql(f"GRANT CONNECT ON DATABASE {tree.root.name} TO {role}")
    tree.sql("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    dsn = psycopg.conninfo.make_conninfo(tree.dsn, user=f'o"dd {tree.root.name}')
    yield Database(dsn, tree.root)
    tree.sql(f"DROP OWNED BY {role} CASCADE")
    tree.sql(f"DROP ROLE {role}")


@pytest.mark.parametrize("given", [[], ["ledger", "table"]])
def test_missing_privileges_name_the_grant(
    tree: Database, stranger: Database, given: list[str]
) -> None:
    if "ledger" not in given:
        tree.sql("DROP SCHEMA fasthash CASCADE")
    if "table" in given:
        tree.sql("CREATE SEQUENCE numbers")
        tree.sql(
            "CREATE TABLE artifacts (id bigint PRIMARY KEY DEFAULT nextval('numbers'), "
            "artifact_type text, file_path text, metadata jsonb)"
        )
    arguments = ["--table", "public.artifacts"]
    for _ in range(12):
        done = stranger.fasthash("register", str(tree.root), *arguments, status=None)
        if done.returncode == 0:
            break
        assert done.returncode == 4, done.stderr
        assert len(done.stderr.splitlines()) == 1
        if "GRANT" in done.stderr:
            tree.sql("GRANT" + done.stderr.split("GRANT", 1)[1].split(";")[0])
        else:
            assert "fasthash grants" in done.stderr
            role = quoted(f'o"dd {tree.root.name}')
            tree.sql(f"GRANT USAGE ON SCHEMA fasthash TO {role}")
    else:
        raise AssertionError("the named grants never sufficed")
    assert len(rows(tree)) == 4


def test_what_is_no_directory(tree: Database) -> None:
    for name in ("top", "nothing"):
        line = refused(Database(tree.dsn, tree.root / name))
        assert f"{tree.root}/{name}" in line
    assert "DIR" in tree.fasthash("register", status=2).stderr
    assert tree.sql("SELECT to_regclass('artifacts') AS t")[0]["t"] is None
    line = refused(Database("host=/no/such/socket", tree.root))
    assert "cannot reach" in line


def test_an_empty_directory(database: Database) -> None:
    assert add(database)["files"] == 0
    assert json.loads(database.fasthash("run", "--json").stdout)["rows_scanned"] == 0


def look(database: Database, *arguments: str, status: int = 0) -> dict[str, Any]:
    """`fasthash register --dry-run --json` of the root."""
    words = ("register", "--dry-run", "--json", str(database.root), *arguments)
    answer: dict[str, Any] = json.loads(database.fasthash(*words, status=status).stdout)
    assert answer["files"] == answer["would_add"] + answer["already_there"]
    assert answer["would_add"] == sum(answer["by_type"].values())
    return answer


def everything(database: Database) -> list[dict[str, Any]]:
    """Relations and schemas of a database, and how often rows of tables were written."""
    return database.sql(
        "SELECT c.oid::regclass::text AS name, c.relfilenode, pg_relation_size(c.oid) AS size, "
        "(SELECT count(*) FROM pg_namespace n WHERE n.nspname !~ '^pg_') AS schemas "
        "FROM pg_class c WHERE c.relnamespace::regnamespace::text !~ '^pg_' ORDER BY 1"
    )


def test_a_dry_run_writes_nothing(tree: Database) -> None:
    tree.sql("DROP SCHEMA fasthash CASCADE")
    before = everything(tree)
    answer = look(tree)
    assert (answer["would_add"], answer["table_missing"]) == (4, True)
    assert answer["by_type"] == {"figures": 2, "models": 1, "(none)": 1}
    assert {f["folder"]: (f["files"], f["example"]) for f in answer["folders"]} == {
        ".": (1, f"{tree.root}/top"),
        "figures": (1, f"{tree.root}/figures/a.png"),
        "figures/deep": (1, f"{tree.root}/figures/deep/er/b.png"),
        "models": (1, f"{tree.root}/models/m"),
    }
    assert everything(tree) == before

    add(tree, folder=tree.root / "figures")
    before = everything(tree)
    answer = look(tree, "--type", "x")
    assert (answer["would_add"], answer["already_there"], answer["table_missing"]) == (2, 2, False)
    assert answer["by_type"] == {"x": 2}
    text = tree.fasthash("register", "--dry-run", str(tree.root)).stdout
    assert "4 files, 2 would be added to artifacts, 2 already there" in text
    assert "nothing was written" in text
    assert f"{tree.root}/models/m" in text
    assert everything(tree) == before
    assert add(tree)["added"] == 2
    assert look(tree)["would_add"] == 0


def test_a_dry_run_makes_no_embedded_server(tree: Database, tmp_path: Path) -> None:
    home = tmp_path / "home"
    tree.environment |= {"FASTHASH_DSN": "", "FASTHASH_DATA_DIR": str(home)}
    assert look(tree)["would_add"] == 4
    assert not home.exists()


@pytest.mark.parametrize("path", ["char(200)", "varchar(300)", 'text COLLATE "C"'])
def test_a_dry_run_compares_as_the_column_does(tree: Database, path: str) -> None:
    tree.sql(
        "CREATE TABLE artifacts (id uuid PRIMARY KEY, artifact_type text, "
        f"file_path {path}, metadata jsonb)"
    )
    add(tree, folder=tree.root / "figures")
    assert look(tree)["already_there"] == 2


def test_a_dry_run_of_names_of_every_shape(database: Database) -> None:
    for name in HOSTILE_NAMES:
        folder = os.fsencode(database.root) + b"/" + name
        os.mkdir(folder)
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(name)
    assert look(database)["would_add"] == len(HOSTILE_NAMES)
    database.fasthash("register", "--dry-run", str(database.root))
    add(database)
    assert look(database)["already_there"] == len(HOSTILE_NAMES)
    left_out = os.fsdecode(b"\xff\xfe not UTF-8")
    answer = look(database, "--exclude", left_out, "--exclude", "new\nline/", "--exclude", "/tab\t")
    assert (answer["excluded"], answer["files"]) == (3, len(HOSTILE_NAMES) - 3)


def test_what_is_excluded_is_not_added(tree: Database) -> None:
    for name in ("figures/deep/x.tmp", "models/x.tmp", "node_modules/a", "models/node_modules/b"):
        (tree.root / name).parent.mkdir(exist_ok=True)
        (tree.root / name).touch()
    (tree.root / "link.tmp").symlink_to("nowhere")
    patterns = tree.root.with_name("patterns")
    patterns.write_text("# of editors\n\n*.tmp\n")
    arguments = ("--exclude", "node_modules", "--exclude", "figures/**/*.png")
    answer = add(tree, *arguments, "--exclude-from", str(patterns))
    assert {path for _, path in rows(tree)} == {f"{tree.root}/models/m", f"{tree.root}/top"}
    assert (answer["added"], answer["excluded"], answer["skipped"]) == (2, 7, 0)
    text = tree.fasthash("register", str(tree.root), "--exclude", "*.tmp").stdout
    assert "excluded: 3 files and folders" in text
    assert add(tree, "--exclude", f"{tree.root}/models/x.tmp")["excluded"] == 1


def test_an_excluded_folder_is_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (b"in/x", b"\xff\n/y", b"in/\xff\n/z"):
        (tmp_path / os.fsdecode(name)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / os.fsdecode(name)).touch()
    entered = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda f: entered.append(f) or scandir(f))  # type: ignore[func-returns-value]
    folder = os.fsencode(tmp_path)
    is_excluded = excluded_by([os.fsdecode(b"\xff?/")], folder)
    walk = Walk(folder, lambda _: False, is_excluded)
    assert [os.path.basename(path) for path in walk] == [b"x"]
    assert (sorted(entered), walk.excluded) == ([folder, folder + b"/in"], 2)


def test_patterns_that_are_refused(tree: Database) -> None:
    for pattern in ("!x", "../x", "/"):
        assert "--exclude" in refused(tree, "--exclude", pattern, status=2)
    gone = tree.root / "no-such-file"
    line = refused(tree, "--exclude-from", str(gone), status=2)
    assert f"cannot read {gone} (--exclude-from): No such file" in line
    assert "Is a directory" in refused(tree, "--exclude-from", str(tree.root), status=2)
    assert tree.sql("SELECT to_regclass('artifacts') AS t")[0]["t"] is None
