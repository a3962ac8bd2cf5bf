"""Resolvers as a site might have them; some misbehave. Named on the command line by tests."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time

from fasthash import shortage


def slow(text: str) -> str:
    """Takes SLOW_S seconds a file, and those in HELD_FILE are not found before HELD_UNTIL is there.

    So a run is caught in the middle, however long it takes to catch it.
    """
    held = os.environ.get("HELD_FILE", "").split()
    while text in held and not os.path.exists(os.environ["HELD_UNTIL"]):
        time.sleep(0.01)
    time.sleep(float(os.environ.get("SLOW_S", "0.002")))
    return text


def gated(text: str) -> str:
    """As slow; and a file named `gate` is not found before the file GATE is there."""
    while text == "gate" and not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
    return slow(text)


def shut(text: str) -> str:
    """As slow; and no file is found before the file GATE is there."""
    while not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
    return slow(text)


def deadly(text: str) -> str:
    """Takes the whole run down at one file, as a file does that exhausts a host's memory."""
    if text == "deadly":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return text


def shouting(text: str) -> str:
    """Prints, which must not reach the channel between the processes."""
    print("resolving", text)
    return text


def talking(text: str) -> str:
    """Prints, to either stream, and sees to it that it is written."""
    print("resolving", text, flush=True)
    print("resolving", text, file=sys.stderr, flush=True)
    return text


def raising(text: str) -> str:
    """Raises for some."""
    if "2" in text:
        raise KeyError(text)
    return text


def prefixed(text: str) -> str | None:
    """A site's own scheme: `store:NAME` lies under by-name/, all else is unknown."""
    scheme, _, name = text.partition(":")
    return f"by-name/{name}" if scheme == "store" else None


def clocked(text: str) -> str:
    """As slow; and writes down which file was asked for, and what the tests' clock showed."""
    with open(os.environ["FASTHASH_TEST_CLOCK"], encoding="ascii") as clock:
        now = clock.read()
    with open(os.environ["READS"], "a", encoding="utf-8") as log:
        log.write(f"{now} {text}\n")
    return slow(text)


def poisonous(text: str) -> str:
    """Kills its own process at one text, as a resolver in C may."""
    if text == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    return text


def endless(text: str) -> str:
    """Does not come back from one text before the file GATE is there."""
    while text == "endless" and not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
    return text


def starving(text: str) -> str:
    """Has its process open nothing any more from one text on, and not wait for better times."""
    if text == "starving":
        shortage.WAIT_S = 0.0
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, most))
    return text
