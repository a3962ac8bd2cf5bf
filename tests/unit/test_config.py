"""Settings: what is no size, duration, table or safe file is refused as a configuration error."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash import config, parsing
from fasthash.cli import COMMANDS, cli, keys
from fasthash.cli.listing import manifest_command
from fasthash.cli.rate import rate_command
from fasthash.cli.run import run_command
from fasthash.errors import ConfigError
from fasthash.store import conninfo

KNOWN = ["table", "workers", "on_drift"]
# Half of it from the parsers' own letters, so that it nearly is what it should be.
texts = st.text(max_size=12) | st.text('0123456789.kKmMgGtTiIbBsh "', max_size=12)


@pytest.mark.parametrize(
    "parse",
    [parsing.parse_size, parsing.parse_duration, parsing.parse_chunk_size, parsing.parse_lease_ttl],
)
@given(text=texts)
def test_any_text_is_a_number_or_a_configuration_error(parse, text: str) -> None:  # type: ignore[no-untyped-def]
    with contextlib.suppress(ConfigError):
        assert parse(text) >= 0


@given(texts | st.text('ab."', max_size=12))
def test_any_text_is_a_table_or_a_configuration_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        schema, table = parsing.parse_table(text)
        assert table
        assert schema is None or schema


@given(st.integers(0, 10**6), st.sampled_from("kKmMgGtT"), st.sampled_from(["", "b", "B"]))
def test_sizes_are_powers_of_1000_and_with_an_i_of_1024(n: int, letter: str, b: str) -> None:
    power = "kmgt".index(letter.lower()) + 1
    assert parsing.parse_size(f"{n}{letter}{b}") == n * 1000**power
    assert parsing.parse_size(f" {n} {letter}i{b} ") == n * 1024**power


@given(st.integers(0, 2**53))
def test_plain_bytes_are_exact(n: int) -> None:
    assert parsing.parse_size(str(n)) == parsing.parse_size(f"{n}B") == n


@given(
    st.integers(0, 10**5),
    st.sampled_from(
        [("ms", 0.001), ("s", 1), ("sec", 1), ("m", 60), ("min", 60), ("h", 3600),
         ("d", 86400)]
    ),
)  # fmt: skip
def test_durations(n: int, unit: tuple[str, float]) -> None:
    assert parsing.parse_duration(f"{n}{unit[0]}") == n * unit[1]
    assert parsing.parse_duration(f" {n}.5 {unit[0]} ") == (n + 0.5) * unit[1]


@given(st.integers(0, 1_000))
def test_long_durations(n: int) -> None:
    """Months have 30 days and years 365, whatever the calendar says."""
    day_s = 86_400
    assert parsing.parse_duration(f"{n}w") == n * 7 * day_s
    assert parsing.parse_duration(f"{n} mo") == n * 30 * day_s
    assert parsing.parse_duration(f"{n}y") == n * 365 * day_s
    assert parsing.parse_duration(f"{n}m") == n * 60, "m is a minute"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "1mon",
        "1M",
        "1Y",
        "-1s",
        "+1s",
        "1 2s",
        "1e3",
        "nan",
        "inf",
        "1:30",
        "1h30m",
        "5 parsecs",
        "90",
        "0.5",
    ],
)
def test_bad_durations(text: str) -> None:
    with pytest.raises(ConfigError, match=r"no duration|no unit"):
        parsing.parse_duration(text)


@pytest.mark.parametrize(
    ("parse", "good", "bad"),
    [
        (parsing.parse_chunk_size, ["4KiB", "4096", "64MiB"], ["4095", "4kB", "64.1MiB", "0"]),
        (parsing.parse_lease_ttl, ["1s", "1000ms", "2min"], ["999ms", "60", "0"]),
    ],
)
def test_bounds(parse, good: list[str], bad: list[str]) -> None:  # type: ignore[no-untyped-def]
    for text in good:
        parse(text)
    for text in bad:
        with pytest.raises(ConfigError):
            parse(text)


@pytest.mark.parametrize("parse", [parsing.parse_size, parsing.parse_duration])
def test_a_number_beyond_all_bounds_is_a_configuration_error(parse) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError):
        parse("9" * 400)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("artifacts", (None, "artifacts")),
        ("public.artifacts", ("public", "artifacts")),
        ('"Art.I"', (None, "Art.I")),
        ('public."a.b"', ("public", "a.b")),
        ('"s.t".x', ("s.t", "x")),
        ('"a""b"', (None, 'a"b')),
        ('"a."', (None, "a.")),
        ('""""', (None, '"')),
        ("naïve", (None, "naïve")),
    ],
)
def test_tables(text: str, name: tuple[str | None, str]) -> None:
    assert parsing.parse_table(text) == name


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.", ".a", "a..b", "a.b.c", '"a', 'a"', 'a"b"', '"a"b', '""', '"a".']
)
def test_no_tables(text: str) -> None:
    with pytest.raises(ConfigError, match="no table name"):
        parsing.parse_table(text)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration file as it should be."""
    tmp_path.chmod(0o755)
    path = tmp_path / "fasthash.toml"
    path.write_text('table = "a"\nworkers = 3\n')
    path.chmod(0o644)
    return path


def test_a_file_is_read(file: Path) -> None:
    assert config.load_file(str(file), KNOWN) == {"table": "a", "workers": 3}


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o602, 0o777])
def test_a_file_that_everybody_can_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(ConfigError, match="everybody can write"):
        config.load_file(str(file), KNOWN)


def test_a_file_in_a_folder_that_everybody_can_write_is_refused(file: Path) -> None:
    file.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="everybody can write"):
        config.load_file(str(file), KNOWN)
    file.parent.chmod(0o1777)  # as /tmp: only the owner can replace a file there
    assert config.load_file(str(file), KNOWN)


def test_a_relative_name_is_judged_by_its_folder(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert config.load_file(file.name, KNOWN)
    file.parent.chmod(0o777)
    with pytest.raises(ConfigError):
        config.load_file(file.name, KNOWN)


def test_a_link_is_judged_by_what_it_leads_to(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="everybody can write"):
        config.load_file(str(link), KNOWN)


def test_a_link_into_a_folder_that_everybody_can_write_is_refused(
    file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o755)
    (folder / "link.toml").symlink_to(file)
    file.parent.chmod(0o777)
    folder.chmod(0o755)
    with pytest.raises(ConfigError, match="everybody can write"):
        config.load_file(str(folder / "link.toml"), KNOWN)


@pytest.mark.skipif(os.geteuid() != 0, reason="wants root")
def test_a_file_of_another_user_is_refused(file: Path) -> None:
    os.chown(file, 12345, -1)
    with pytest.raises(ConfigError, match="uid 12345"):
        config.load_file(str(file), KNOWN)


def test_a_file_of_roots_is_taken_by_anybody(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if file.stat().st_uid != 0:
        pytest.skip("wants root")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert config.load_file(str(file), KNOWN)


@pytest.mark.parametrize(
    "content", [b"table = ", b"\xff\xfe", b"table = 'a'\ntable = 'b'", b"a = 2026-13-01", b"\0"]
)
def test_what_is_no_toml_is_a_configuration_error(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="not valid TOML"):
        config.load_file(str(file), KNOWN)


def test_a_missing_file_or_a_folder_is_a_configuration_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError):
            config.load_file(str(path), KNOWN)


def test_an_unknown_key_is_refused_and_the_nearest_is_named(file: Path) -> None:
    file.write_text("worker = 3\n")
    with pytest.raises(ConfigError, match=r"'worker'.*did you mean workers\?"):
        config.load_file(str(file), KNOWN)
    file.write_text("zzz = 3\n")
    with pytest.raises(ConfigError) as caught:
        config.load_file(str(file), KNOWN)
    assert "did you mean" not in str(caught.value)


@given(st.text(max_size=10), st.lists(st.text(max_size=10), max_size=5))
def test_the_nearest_is_one_of_the_known(name: str, known: list[str]) -> None:
    found = config.nearest(name, known)
    assert found is None or found in known
    if name and name in known:
        assert found is not None
        assert found.lower() == name.lower()


def test_the_file_here_goes_before_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    (home / "fasthash").mkdir(parents=True)
    monkeypatch.chdir(here)
    environment = {"XDG_CONFIG_HOME": str(home)}
    assert config.find_file(environment) is None
    own = home / "fasthash" / "fasthash.toml"
    own.write_text("")
    assert config.find_file(environment) == str(own)
    (here / "fasthash.toml").write_text("")
    found = config.find_file(environment)
    assert found is not None
    assert os.path.samefile(found, here / "fasthash.toml")


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a = 1\nb = 2\n", "b", 2),
        ('"a" = 1\n', "a", 1),
        ("  a=1\n", "a", 1),
        ("[a]\nb = 2\n", "a", 1),
        ("a.b = 2\n", "a", 1),
        ('x = """\na = 1\n"""\na = 2\n', "a", 4),
        ("x = [\n 'a = 1',\n]\na = 2\n", "a", 4),
        ("# a = 1\n", "a", None),
        ("ab = 1\n", "a", None),
    ],
)
def test_the_line_of_a_key(file: Path, text: str, key: str, line: int | None) -> None:
    file.write_text(text)
    assert config.find_line(str(file), key) == line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('workers = "many"', 'workers wants a whole number, not "many"'),
        ("workers = true", "workers wants a whole number, not true"),
        ("workers = 1.5", "workers wants a whole number, not 1.5"),
        ("workers = 5000", "workers: 5000 is not in the range"),
        ("workers = [1]", "workers wants a whole number, not a list"),
        ("[workers]\na = 1", "workers wants a whole number, not a section"),
        ('roots = "/x"', 'roots wants a list: roots = ["/x"]'),
        ('roots = ["/x", 5]', "roots wants a list, each a text, not 5"),
        ("[[roots]]\na = 1", "roots wants a list, each a text, not a section"),
        ('windows = ["22:00-06:00", 5]', "windows: '5' is no window"),
        ('windows = "22:00-06:00"', "windows wants a list"),
        ('wait = "yes"', 'wait wants true or false, not "yes"'),
        ("wait = 1", "wait wants true or false, not 1"),
        ("rate = true", "rate wants a text, not true"),
        ("rate = 50", "rate: '50' is too slow"),
        ("chunk_size = 256", "chunk_size: 256 is out of bounds"),
        ("lease_ttl = 0", "lease_ttl: 0 is too short"),
        ("table = 'a.b.c'", "table: 'a.b.c' is no table name"),
        ("id_column = 5", "id_column wants a text, not 5"),
        ("timezone = 'Mars'", "timezone: there is no time zone 'Mars'"),
        ("ionice = 'realtime'", "ionice: 'realtime' is no I/O priority"),
        ("on_drift = 'keep'", "on_drift: 'keep' is not one of"),
        ("since = 22:00:00", "since wants a text, not 22:00:00"),
        ("worker = 3", "there is no key 'worker'; did you mean workers?"),
        ("[run]\nworkers = 3", "[run] is a section, and there are none"),
        ("[[run]]\nworkers = 3", "[run] is a section, and there are none"),
    ],
)
def test_a_mistake_is_one_line_with_file_line_and_key(file: Path, text: str, says: str) -> None:
    file.write_text(f"# ours\nlog_format = 'text'\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        keys.load(str(file))
    assert str(caught.value).startswith(f"{file}, line 3: {says}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("chunk_size = 262144", "262144"),
        ("db_timeout = 0", "0"),
        ("sample = 0.5", "0.5"),
        ("since = 2026-01-31", "2026-01-31"),
        ("since = 2026-01-31T02:00:00Z", "2026-01-31T02:00:00+00:00"),
        ("max_io_pressure = 40", 40),
        ("max_io_pressure = 40.5", 40.5),
        ("roots = []", []),
    ],
)
def test_what_toml_has_a_type_for_need_not_be_a_text(file: Path, text: str, value: object) -> None:
    file.write_text(text)
    assert list(keys.load(str(file)).values()) == [value]


SCALARS = st.one_of(
    st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.dates(), st.datetimes()
)


@given(
    st.sampled_from(sorted(keys.known())),
    SCALARS | st.lists(SCALARS) | st.dictionaries(texts, SCALARS),
)
def test_any_value_is_one_that_the_command_line_takes_or_a_mistake(key: str, value: Any) -> None:
    setting = keys.known()[key]
    with contextlib.suppress(ConfigError):
        taken = setting.from_file(value)
        parsed = setting.type_cast_value(click.Context(click.Command("x")), taken)
        # An address to listen at is a pair, and one value.
        assert isinstance(parsed, tuple) == (setting.multiple or key == "metrics_port")


def parameters(command: click.Command, file: Path, *arguments: str) -> dict[str, Any]:
    """What a command makes of its arguments and a configuration file."""
    return command.make_context("x", ["--config", str(file), *arguments]).params


def test_an_option_that_is_no_key_is_not_set_by_a_key_of_its_name(file: Path) -> None:
    file.write_text('algorithm = "sha256,blake3"\nrate = "50MB/s"\nfiles_rate = 5\n')
    assert parameters(run_command, file)["algorithm"] == "sha256,blake3"
    assert parameters(manifest_command, file)["algorithm"] == "sha256"
    found = parameters(rate_command, file)
    assert (found["rate"], found["files_rate"]) == (None, None)


def test_each_option_with_a_variable_is_a_key() -> None:
    """A key that a command has and `run` and `scrub` have not would be refused in the file."""
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        commands = [command]
        if isinstance(command, click.Group):
            commands += command.commands.values()
        for option in (o for c in commands for o in c.params if o.envvar and o.name != "config"):
            assert option.name in keys.known(), (name, option.name)
            assert option.envvar == f"FASTHASH_{option.name.upper()}"


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:s3cret@db/atlas?sslpassword=s3cret",
        "postgresql://u:s3%63ret@db/atlas",
        "host=db password=s3cret user=u",
        "host=db password='s3cret with \\' blanks' sslpassword=s3cret",
        "password = s3cret",
        "oauth_client_secret=s3cret scram_client_key=s3cret",
    ],
)
def test_a_connection_string_is_shown_without_its_secrets(dsn: str) -> None:
    shown = conninfo.masked(dsn)
    assert "s3" not in shown
    assert "***" in shown
    if "db" in dsn:
        assert "host=db" in shown


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4, max_size=12))
def test_no_password_is_shown(password: str) -> None:
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    assert conninfo.masked(f"host=db password='{quoted}' user=u") == "user=u password=*** host=db"


def test_a_connection_string_that_is_none_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        conninfo.masked("password=s3cret host")
    assert "s3cret" not in str(caught.value)


def test_variables_of_libpq_are_shown_without_their_secrets() -> None:
    environment = {"PGHOST": "db", "PGPASSWORD": "s3cret", "PGUSER": "", "PGNONE": "x"}
    assert sorted(conninfo.variables(environment)) == [("PGHOST", "db"), ("PGPASSWORD", "***")]
