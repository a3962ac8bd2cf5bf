"""What others could have written is not believed, and a resolver not run before it is judged."""

from __future__ import annotations

import os
import py_compile
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fasthash import config, trust
from fasthash.errors import ConfigError
from fasthash.resolver import load_resolver

SOMEBODY = 65534
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules that leave a mark when they are run."""
    folder = tmp_path / "site"
    (folder / "shop" / "inner").mkdir(parents=True)
    code = f"open({str(tmp_path / 'run')!r}, 'a').write(__name__ + ' ')\n"
    for name in ("shop/__init__.py", "shop/inner/__init__.py", "shop/inner/paths.py", "flat.py"):
        (folder / name).write_text(code + "def find(text):\n    return text\n")
    (folder / "space" / "part").mkdir(parents=True)  # no __init__.py: a namespace
    (folder / "space" / "part" / "paths.py").write_text(code + "def find(text): return text\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        del sys.modules[name]


MODULES = ["shop.inner.paths:find", "space.part.paths:find", "flat:find"]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_nobody_else_can_write_is_used(site: Path, tmp_path: Path, name: str) -> None:
    assert load_resolver(name)("text") == "text"
    assert (tmp_path / "run").exists()


LOOSE = [
    ("flat:find", "flat.py", ""),
    ("flat:find", ".", ""),
    ("shop.inner.paths:find", "shop/inner/paths.py", "shop shop.inner "),
    ("shop.inner.paths:find", "shop/inner/__init__.py", "shop "),
    ("shop.inner.paths:find", "shop/__init__.py", ""),
    ("shop.inner.paths:find", "shop/inner", "shop "),
    ("shop.inner.paths:find", "shop", ""),
    ("shop.inner.paths:find", ".", ""),
    ("shop.inner.paths:find", "..", ""),
    ("space.part.paths:find", "space", ""),
    ("space.part.paths:find", "space/part", ""),
]
# The owner of a folder is believed, but for one that is a package itself.
GIVEN = [case for case in LOOSE if case[1].endswith(".py") or case[1].startswith("space")]


@pytest.mark.parametrize(
    ("name", "loose", "run", "way"),
    [
        *[(*case, "mode") for case in LOOSE],
        *[pytest.param(*case, "owner", marks=only_root) for case in GIVEN],
    ],
)
def test_what_somebody_else_could_write_is_not_even_run(
    site: Path, tmp_path: Path, name: str, loose: str, run: str, way: str
) -> None:
    place = site / loose
    if way == "mode":
        place.chmod(0o777 if place.is_dir() else 0o666)
    else:
        os.chown(place, SOMEBODY, SOMEBODY)
    with pytest.raises(ConfigError, match="is refused"):
        load_resolver(name)
    assert (tmp_path / "run").read_text() == run if run else not (tmp_path / "run").exists()


@pytest.mark.parametrize("loose", ["flat.pyc", "__pycache__"])
def test_what_was_compiled_before_is_judged_too(site: Path, tmp_path: Path, loose: str) -> None:
    compiled = py_compile.compile(str(site / "flat.py"))
    assert compiled is not None
    if loose == "__pycache__":
        os.chmod(os.path.dirname(compiled), 0o1777)  # sticky: yet others may add to it
        os.unlink(compiled)
    else:
        os.chmod(compiled, 0o666)
    with pytest.raises(ConfigError, match="is refused"):
        load_resolver("flat:find")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fasthash.toml"
    path.write_text("workers = 3\n")
    return path


def test_what_was_judged_is_what_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = trust._judge

    def and_replace(path: str, real_path: bytes, facts: os.stat_result) -> None:
        judge(path, real_path, facts)
        other = file.with_name("other")
        other.write_text("workers = 4\n")
        os.replace(other, file)

    monkeypatch.setattr(trust, "_judge", and_replace)
    assert config.load_file(str(file), ["workers"]) == {"workers": 3}


def test_a_configuration_may_come_through_a_pipe(tmp_path: Path) -> None:
    """As a shell's `--config <(..)` gives it."""
    source, sink = os.pipe()
    os.write(sink, b"workers = 3\n")
    os.close(sink)
    assert config.load_file(f"/dev/fd/{source}", ["workers"]) == {"workers": 3}
    os.close(source)


@pytest.mark.parametrize("name", ["/dev/zero", "/"])
def test_a_configuration_is_no_device_and_no_folder(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        config.load_file(name, [])


def test_a_link_in_the_place_of_the_new_file_is_not_followed(file: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    Path(f"{file}.new").symlink_to(victim)
    config.write_keys(str(file), {"workers": 5})
    assert victim.read_text() == "precious"
    assert file.read_text() == "workers = 5\n"
    assert not file.is_symlink()
