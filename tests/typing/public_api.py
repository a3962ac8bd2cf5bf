"""The public API as a script sees it, for mypy alone: see `tests/unit/test_typing.py`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

from fasthash import Catalog, FileHash, Position, RunSummary, hash_files, run, scrub

assert_type(hash_files([Path("a")]), Iterator[FileHash[Path]])
assert_type(hash_files(b"a" for _ in range(3)), Iterator[FileHash[bytes]])
for file in hash_files(["a"], workers=2, blake3=True):
    assert_type(file.path, str)
    assert_type(file.sha256, str | None)


def show(position: Position) -> None:
    assert_type(position.held, str | None)


with Catalog("dbname=x", roots=[Path("/data"), "/more"]) as catalog:
    assert_type(run(catalog, types=["figures"], progress=show), RunSummary)
    assert_type(scrub(catalog, older_than_s=3600, precheck="stat").exit_status, int)
    assert_type(catalog.drifts(only_open=True), Iterator[dict[str, Any]])

run(catalog, reader="tape")  # type: ignore[arg-type]
run(catalog, workers="two")  # type: ignore[arg-type]
run(catalog, no_such_option=1)  # type: ignore[call-arg]
hash_files([1])  # type: ignore[type-var]
