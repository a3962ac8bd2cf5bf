"""Writes what is generated of docs/ and examples/ from the commands themselves: `make docs`."""

from __future__ import annotations

from pathlib import Path

from manpage import manual
from markdown import commands_page, configuration_page, example_file
from surface import all_keys, commands
from verdicts import verdicts_page

PROJECT = Path(__file__).parents[1]


def pages() -> dict[Path, str]:
    """Every generated file and what has to be in it."""
    found = commands()
    keys = all_keys(found)
    return {
        PROJECT / "docs" / "commands.md": commands_page(found),
        PROJECT / "docs" / "configuration.md": configuration_page(keys),
        PROJECT / "docs" / "verdicts.md": verdicts_page(),
        PROJECT / "docs" / "fasthash.1": manual(found, keys),
        PROJECT / "examples" / "fasthash.toml": example_file(keys),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
