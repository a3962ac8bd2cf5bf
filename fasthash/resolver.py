"""The site's own way from catalog text to path, where the text alone does not say it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec

from fasthash.errors import ConfigError
from fasthash.fixity import Verdict
from fasthash.paths import PathRefusedError
from fasthash.trust import refuse_foreign_file

Resolver = Callable[[str], "str | bytes | os.PathLike[str] | None"]


def load_resolver(name: str) -> Resolver:
    """The site's function, of which nobody else could have written a line.

    Its module and the packages around it are looked for and judged before any of them is imported:
    to import a file is to run it. What it imports in turn is the site's own affair.

    Args:
        name: `package.module:function`.

    Raises:
        ConfigError: it cannot be imported, is no function, or somebody else could have written it.
    """
    module_name, colon, function_name = name.partition(":")
    if not (colon and module_name and function_name):
        raise ConfigError(f"--resolver {name!r}: write package.module:function")
    try:
        for source in _sources(module_name):
            refuse_foreign_file(source)
    except OSError as error:
        raise ConfigError(f"--resolver {name}: {error.filename}: {error.strerror}") from error
    try:
        found = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:
        raise ConfigError(f"--resolver {name}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"--resolver {name}: it is not a function")
    written_in = getattr(getattr(found, "__code__", None), "co_filename", None)
    if written_in is not None and os.path.exists(written_in):  # it may be another module's
        refuse_foreign_file(written_in)
    resolver: Resolver = found
    return resolver


def _sources(module_name: str) -> list[str]:
    """The files and folders that a module's code may come from, its packages' included.

    importlib.util.find_spec imports the packages above a module, so each is found here by hand.
    """
    found: list[str] = []
    path: Sequence[str] | None = None
    parts = module_name.split(".")
    for n in range(len(parts)):
        spec = _find_spec(".".join(parts[: n + 1]), path)
        if spec is None:
            break  # the import will say it best
        path = spec.submodule_search_locations
        if not spec.has_location:  # a package without a file of its own, or a built-in one
            found += path or ()
            continue
        found.append(spec.origin or "")
        if spec.cached is not None:  # what was compiled before is run in place of the source
            found += (os.path.dirname(spec.cached), spec.cached)
    return [source for source in found if os.path.exists(source)]


def _find_spec(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    """As the import system finds a module, without importing anything."""
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path, None)
        if spec is not None:
            return spec
    return None


def resolve(resolver: Resolver, text: str) -> str:
    """What the function makes of a catalog text.

    Raises:
        PathRefusedError: it raised, knows no file, or returned something that is no path.
    """
    try:
        found = resolver(text)
        path = None if found is None else os.fsencode(found).decode("utf-8", "surrogateescape")
    except Exception as error:
        detail = f"the resolver raised {type(error).__name__}: {error}"
        raise PathRefusedError(Verdict.UNREADABLE, detail) from error
    if path is None:
        raise PathRefusedError(Verdict.NO_FILE, "the resolver knows no file for it")
    return path
