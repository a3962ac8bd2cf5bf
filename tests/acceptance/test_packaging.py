"""What is built and installed is whole, in an environment with nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What pip says where there is no network.
NO_INDEX = ("Failed to establish a new connection", "Network is unreachable")


def call(*command: str | Path, cwd: Path, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "FASTHASH_", "PYTHON"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and any(said in done.stdout + done.stderr for said in NO_INDEX):
        pytest.skip("wants a package index")
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with sdist and wheel, made from what git knows of, the wheel from the sdist."""
    if not (ROOT / ".git").exists():
        pytest.skip("wants sources under version control")
    folder = tmp_path_factory.mktemp("built")
    listed = call("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    source = folder / "source"
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    call(sys.executable, "-m", "build", "--outdir", folder, source, cwd=folder)
    return folder


def test_what_is_in_them(built: Path) -> None:
    (sdist,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"fasthash/_native.c", "tests/conftest.py", "docs/library.md", "LICENSE"} <= names
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    sql = {f"fasthash/sql/{path.name}" for path in (ROOT / "fasthash" / "sql").glob("*.sql")}
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "fasthash").rglob("*.py")}
    assert sql | modules | {"fasthash/py.typed"} <= packed
    assert any(name.startswith("fasthash/_native.") for name in packed)
    assert not [name for name in packed if name.startswith(("tests", "benchmarks"))]
    assert not [name for name in packed if name.endswith((".c", ".pyc"))]


def test_the_wheel_alone_in_an_empty_environment(built: Path, tmp_path: Path) -> None:
    """Registers, hashes and reports, with the server and the pages that its extras bring."""
    (wheel,) = built.glob("*.whl")
    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    call(*pip, "install", "--quiet", "--no-compile", f"{wheel}[embedded,report]", cwd=tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("content")
    home = {"FASTHASH_DATA_DIR": str(tmp_path / "home")}
    fasthash = python.with_name("fasthash")
    assert "1 added" in call(fasthash, "register", "data", cwd=tmp_path, **home)
    assert "1 row written" in call(python, "-m", "fasthash", "run", cwd=tmp_path, **home)
    call(fasthash, "report", "-o", "report.html", cwd=tmp_path, **home)
    assert "<html" in (tmp_path / "report.html").read_text()
    call(python, "-c", "from fasthash.small import load_native; assert load_native()", cwd=tmp_path)
    assert (tmp_path / "venv/share/man/man1/fasthash.1").exists()
