"""What the facts of the machine mean."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from fasthash.facts import Finding, Level, MachineFacts
from fasthash.summary import human_bytes

# With the SHA extensions a core does 1.4 to 2.2 GB/s, without them at most 0.6.
SHA_BYTES_PER_S = 0.8e9
# A worker has a group of 32 files open, and pipes; the coordinator two pipes a worker.
FILES_A_WORKER, FILES_BESIDE = 3, 128
# What a worker and all the rest take, with their interpreters.
WORKER_BYTES, REST_BYTES = 40_000_000, 150_000_000


def judge(facts: MachineFacts, workers: int) -> list[Finding]:
    """The findings.

    Args:
        facts: of this host.
        workers: that a run would have.
    """
    return [
        *_sha(facts),
        *_native(facts),
        *_cores(facts, workers),
        *_files(facts, workers),
        *_memory(facts, workers),
        *_rest(facts),
    ]


def _sha(facts: MachineFacts) -> Iterator[Finding]:
    check = "machine.sha"
    speeds = facts.digests_bytes_per_s
    shown = {"sha256": "SHA-256", "sha256_native": "two together", "blake3": "BLAKE3"}
    names = {**shown, "xxh3": "XXH3"}
    rates = ", ".join(f"{names[n]} {human_bytes(s)}/s" for n, s in speeds.items())
    yield Finding("machine.digests", Level.OK, f"one core: {rates}")
    slow = speeds.get("sha256", 0.0) < SHA_BYTES_PER_S
    if facts.sha_in_processor is None:
        yield Finding(
            check, Level.NOTE, "the kernel does not tell whether there are SHA extensions"
        )
    elif not facts.sha_in_processor:
        text = f"the processor ({facts.processor or 'unknown'}) has no SHA extensions"
        yield Finding(check, Level.NOTE, f"{text}: SHA-256 takes three times as long")
    elif facts.openssl_mask is not None and slow:
        text = f"OPENSSL_ia32cap={facts.openssl_mask} keeps OpenSSL from using the SHA extensions"
        yield Finding(check, Level.WARNING, text, "unset OPENSSL_ia32cap")
    elif slow:
        text = "the processor has SHA extensions, but SHA-256 is as slow as without: hashlib uses"
        remedy = "python3 -c 'import ssl; print(ssl.OPENSSL_VERSION)'  # has to be 1.1.1 or newer"
        yield Finding(check, Level.WARNING, f"{text} {facts.openssl}", remedy)
    else:
        text = f"SHA extensions are there ({facts.processor}) and used ({facts.openssl})"
        yield Finding(check, Level.OK, text)


def _native(facts: MachineFacts) -> Iterator[Finding]:
    check = "machine.native"
    suits = facts.architecture == "x86_64" and facts.sha_in_processor is not False
    reinstall = (
        f"{shlex.quote(facts.interpreter)} -m pip install --force-reinstall --no-deps "
        f"--no-cache-dir {facts.installed_from}  # with a C compiler and Python's headers"
    )
    if facts.native == "used":
        yield Finding(check, Level.OK, "the native code for small files is there and used")
    elif facts.native == "wrong":
        text = "the native code hashes wrongly on this machine: every worker refuses to start"
        yield Finding(check, Level.PROBLEM, text, "export FASTHASH_NATIVE=off")
    elif facts.native == "off":
        text = "the native code is turned off: small files take about twice the processor time"
        yield Finding(check, Level.WARNING, text, "unset FASTHASH_NATIVE")
    elif facts.native == "missing" and suits:
        text = "the native code was not built: small files take about twice the processor time"
        yield Finding(check, Level.WARNING, text, reinstall)
    else:
        text = "the native code is not for this processor or kernel; Python does its work"
        yield Finding(check, Level.NOTE, text)


def _cores(facts: MachineFacts, workers: int) -> Iterator[Finding]:
    check = "machine.cores"
    text = f"{_cores_text(facts.cores_allowed)} of {facts.cores_present} for this process"
    quota = facts.cores_quota
    if quota is not None and quota < facts.cores_allowed:
        text += f", of which its control group allows {quota:g} in all"
        best = max(1, round(quota))
        if workers > best:
            yield Finding(check, Level.WARNING, f"{text}; {workers} workers", f"workers = {best}")
            return
    level = Level.NOTE if facts.cores_allowed < facts.cores_present else Level.OK
    yield Finding(check, level, text)


def _cores_text(count: int) -> str:
    return f"{count} core{'' if count == 1 else 's'}"


def _files(facts: MachineFacts, workers: int) -> Iterator[Finding]:
    needed = FILES_BESIDE + FILES_A_WORKER * workers
    if facts.open_files >= needed:
        yield Finding("machine.files", Level.OK, f"{_many(facts.open_files)} open files allowed")
        return
    text = f"only {facts.open_files} open files allowed; {needed} may be needed"
    enough = facts.open_files_hard >= needed
    remedy = f"ulimit -n {needed}" if enough else f"ulimit -Hn {needed} && ulimit -n {needed}"
    remedy += "" if enough else "  # as root; LimitNOFILE= in a unit of systemd"
    yield Finding("machine.files", Level.WARNING, text, remedy)


def _many(count: int) -> str:
    return f"{count:,}" if count < 1 << 40 else "any number of"


def _memory(facts: MachineFacts, workers: int) -> Iterator[Finding]:
    if not facts.memory_bytes:
        return
    limit = facts.memory_limit_bytes
    text = f"{human_bytes(facts.memory_available_bytes)} of {human_bytes(facts.memory_bytes)} free"
    if limit is not None and limit < facts.memory_bytes:
        text += f", {human_bytes(limit)} for the control group"
    available = min(facts.memory_available_bytes, limit or facts.memory_available_bytes)
    fitting = max(1, int((available - REST_BYTES) // WORKER_BYTES))
    if fitting < workers:
        text += f": too little for {workers} workers"
        yield Finding("machine.memory", Level.WARNING, text, f"workers = {fitting}")
    else:
        yield Finding("machine.memory", Level.OK, text)


def _rest(facts: MachineFacts) -> Iterator[Finding]:
    if facts.shared_memory is not None:
        text = f"/dev/shm cannot be used ({facts.shared_memory}): rates are kept in /tmp"  # noqa: S108
        remedy = "mount -t tmpfs -o mode=1777 tmpfs /dev/shm"
        yield Finding("machine.shm", Level.WARNING, text, remedy)
    else:
        yield Finding("machine.shm", Level.OK, "/dev/shm can be used")  # noqa: S108
    if facts.io_limits:
        text = f"the control group limits reading: {'; '.join(facts.io_limits)}"
        yield Finding("machine.io", Level.NOTE, text)
    told = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    yield Finding("machine.versions", Level.OK, told)
