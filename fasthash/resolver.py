"""The site's own way from catalog text to path, where the text alone does not say it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from fasthash.errors import ConfigError
from fasthash.fixity import Verdict
from fasthash.paths import PathRefusedError
from fasthash.trust import refuse_foreign_file

Resolver = Callable[[str], "str | bytes | os.PathLike[str] | None"]


def load_resolver(name: str) -> Resolver:
    """The site's function, of which nobody else could have written a line.

    Its module and the packages around it are judged before they are imported, from the outermost
    on: to import a file is to run it. What they import in turn is the site's own affair.

    Args:
        name: `package.module:function`.

    Raises:
        ConfigError: it cannot be imported, is no function, or somebody else could have written it.
    """
    module_name, colon, function_name = name.partition(":")
    if not (colon and module_name and function_name):
        raise ConfigError(f"--resolver {name!r}: write package.module:function")
    try:
        found = getattr(_import(module_name), function_name)
        code = getattr(found, "__code__", None)
        if code is not None and os.path.exists(code.co_filename):  # it may be another module's
            refuse_foreign_file(code.co_filename)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"--resolver {name}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"--resolver {name}: it is not a function")
    resolver: Resolver = found
    return resolver


def _import(module_name: str) -> ModuleType:
    parts = module_name.split(".")
    for n in range(1, len(parts)):
        _import_one(".".join(parts[:n]))
    return _import_one(module_name)


def _import_one(module_name: str) -> ModuleType:
    """Imports a module whose package is imported."""
    spec = importlib.util.find_spec(module_name)
    for source in _sources(spec) if spec is not None else ():
        if os.path.exists(source):
            refuse_foreign_file(source)
    return importlib.import_module(module_name)


def _sources(spec: ModuleSpec) -> Sequence[str]:
    """The files and folders that a module's own code may come from."""
    if spec.has_location and spec.origin is not None:
        # What was compiled before is run in place of the source.
        compiled = () if spec.cached is None else (os.path.dirname(spec.cached), spec.cached)
        return (spec.origin, *compiled)
    return spec.submodule_search_locations or ()  # of a package without a file: its folders


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
