"""The site's own way from catalog text to path, where the text alone does not say it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable

from fasthash.config import refuse_foreign_file
from fasthash.errors import ConfigError
from fasthash.fixity import Verdict
from fasthash.paths import PathRefusedError

Resolver = Callable[[str], "str | bytes | os.PathLike[str] | None"]


def load_resolver(name: str) -> Resolver:
    """The site's function.

    Args:
        name: `package.module:function`.

    Raises:
        ConfigError: it cannot be imported or is no function.
    """
    module_name, colon, function_name = name.partition(":")
    if not (colon and module_name and function_name):
        raise ConfigError(f"--resolver {name!r}: write package.module:function")
    try:
        found = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:
        raise ConfigError(f"--resolver {name}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"--resolver {name}: it is not a function")
    resolver: Resolver = found
    return resolver


def check_resolver(name: str) -> None:
    """Checks that the site's function can be had, and that nobody else could have written it.

    Raises:
        ConfigError: it cannot, or somebody could.
    """
    source = getattr(getattr(load_resolver(name), "__code__", None), "co_filename", None)
    if source is not None and os.path.exists(source):
        refuse_foreign_file(source)


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
