"""How much may be read when: rates, pieces, budgets, and locks of the dead."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash import gate, limits
from fasthash.gate import Gate, HostRate
from fasthash.pace import Pace
from fasthash.slot import Slot
from fasthash.watching import Stopped

rates = st.floats(1e3, 1e10)
# Readers that come at any times, each as soon as it may and then late by some.
visits = st.lists(
    st.tuples(st.integers(1, 10**7), st.floats(0, 0.3), st.floats(0, 0.05)), max_size=60
)


@given(rates, visits)
def test_a_rate_is_never_exceeded(rate: float, visits: list[tuple[int, float, float]]) -> None:
    """Over any time, no more is begun than the rate allows, a tenth of a second and one piece."""
    now_s = paid_s = 100.0
    begun: list[tuple[float, int]] = []
    for amount, pause_s, late_s in visits:
        piece = limits.piece_bytes(amount, rate)
        now_s += pause_s
        begins_s, paid_s = limits.reserve(paid_s, now_s, piece, rate)
        now_s = max(now_s, begins_s) + late_s
        begun.append((max(now_s - late_s, begins_s), piece))
    for first in range(len(begun)):
        for last in range(first, len(begun)):
            over_s = begun[last][0] - begun[first][0]
            total = sum(piece for _, piece in begun[first:last])  # the last is only begun
            assert total <= rate * (over_s + limits.CATCH_UP_S) * 1.001 + 1


@given(rates, st.integers(1, 2**40))
def test_pieces_are_pages_and_a_twentieth_of_a_second_at_most(rate: float, most: int) -> None:
    piece = limits.piece_bytes(most, rate)
    assert 1 <= piece <= most
    assert piece == most or piece % limits.LEAST_PIECE_BYTES == 0
    assert piece <= max(limits.LEAST_PIECE_BYTES, rate * limits.PIECE_S)
    assert limits.piece_bytes(most, 0) == most


@given(st.lists(st.integers(0, 1000), max_size=30), st.integers(1, 3000))
def test_a_budget_holds_but_for_the_first_file(sizes: list[int], budget: int) -> None:
    one = Gate.create(budget)
    taken = [size for size in sizes if one.spend(size)]
    real = [size for size in taken if size]
    assert sum(taken) <= budget or len(real) == 1
    if any(sizes):
        assert real, "at least one file is read"
    one.close()


def test_a_gate_is_seen_by_whoever_inherits_it() -> None:
    one = Gate.create()
    other = Gate.inherit(one.descriptor)
    assert not other.closed
    one.set(paused=True)
    assert other.closed
    one.set(paused=False, closes_at_s=time.time() + 100)
    assert not other.closed
    one.set(paused=False, closes_at_s=time.time() - 1)
    assert other.closed
    one.set(paused=False)
    one.end()
    assert not other.closed
    assert not other.spend(0)
    one.close()
    other.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "rates")


def test_a_rate_is_shared_by_all_who_know_its_name(path: str) -> None:
    one, other = HostRate.open(path), HostRate.open(path)
    one.set_rates(1000.0, 3.0)
    assert other.rates == (1000.0, 3.0)
    first = one.reserve(0, 1000)
    assert other.reserve(0, 1) == pytest.approx(first + 1, abs=0.2)
    other.set_rates(0.0, 0.0)
    assert one.reserve(0, 10**9) == 0.0


def _hold(path: str) -> None:
    one = HostRate.open(path)
    with one.locked():
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_one_that_dies_or_stops_in_the_lock_blocks_nobody(path: str, number: int) -> None:
    one = HostRate.open(path)
    one.set_rates(1e9, 0.0)
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(path,))
    process.start()
    assert process.pid is not None
    os.waitpid(process.pid, os.WUNTRACED)
    if number == signal.SIGKILL:
        os.kill(process.pid, number)
        process.join()
    began_s = time.monotonic()
    assert one.reserve(0, 1000) <= time.monotonic() + 1
    assert time.monotonic() - began_s < 10 * gate.LOCK_S
    if number == signal.SIGSTOP:
        os.kill(process.pid, signal.SIGKILL)
        process.join()


def test_a_rate_of_somebody_else_is_refused(path: str, tmp_path: Path) -> None:
    os.symlink("/etc/passwd", path)
    with pytest.raises(OSError):
        HostRate.open(path)
    os.unlink(path)
    (tmp_path / "other").touch()
    os.link(tmp_path / "other", path)
    with pytest.raises(PermissionError):
        HostRate.open(path)
    os.unlink(path)
    os.mkfifo(path)
    with pytest.raises(OSError):
        HostRate.open(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place for files of rates."""
    monkeypatch.setattr(gate, "FOLDERS", (str(tmp_path),))
    return tmp_path


def test_the_last_one_removes_the_file(folder: Path) -> None:
    one, other = HostRate.share("a run"), HostRate.share("a run")
    one.set_rates(5.0, 0.0)
    one.close()
    assert other.rates == (5.0, 0.0)
    third = HostRate.share("a run")
    assert third.rates == (5.0, 0.0), "the file of a live run stays"
    third.close()
    other.close()
    assert not list(folder.iterdir())


def _share_for_ever() -> None:
    HostRate.share("a run that is killed")
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_the_killed_leave_goes_with_the_next_run(folder: Path) -> None:
    live = HostRate.share("a live run")
    (folder / "something else").touch()
    process = multiprocessing.get_context("fork").Process(target=_share_for_ever)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list(folder.iterdir())) == 3
    HostRate.share("another run").close()
    assert {path.name for path in folder.iterdir()} == {
        os.path.basename(live.path or ""),
        "something else",
    }
    live.close()


def test_a_worker_keeps_the_file_of_a_killed_coordinator(folder: Path) -> None:
    """It inherits the descriptor, and with it the lock."""
    one = HostRate.share("a run")
    worker = HostRate(os.dup(one.descriptor))
    one.memory.close()
    os.close(one.descriptor)
    HostRate.share("another run").close()
    assert len(list(folder.iterdir())) == 1
    worker.memory.close()
    os.close(worker.descriptor)
    HostRate.share("another run").close()
    assert not list(folder.iterdir())


def test_one_who_opens_a_file_that_another_removes_opens_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the two would keep different rates."""
    last, holds = HostRate.share("a run"), gate._holds
    path = last.path
    assert path is not None

    def slowly(descriptor: int, how: int) -> bool:
        monkeypatch.setattr(gate, "_holds", holds)
        last.close()  # between the opening and the lock
        return holds(descriptor, how)

    monkeypatch.setattr(gate, "_holds", slowly)
    one = HostRate.open(path)
    other = HostRate.open(path)
    one.set_rates(7.0, 0.0)
    assert other.rates == (7.0, 0.0)
    one.close()
    other.close()


def test_without_shared_memory_there_is_another_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "FOLDERS", ("/nowhere", str(tmp_path)))
    one, other = HostRate.share("a run"), HostRate.share("a run")
    one.set_rates(7.0, 0.0)
    assert other.rates == (7.0, 0.0)
    one.close()
    other.close()
    monkeypatch.setattr(gate, "FOLDERS", ("/nowhere",))
    with pytest.raises(OSError, match="nowhere"):
        HostRate.share("a run")


def test_names_tell_runs_apart() -> None:
    assert len({gate._file_name(f"public.artifacts {n} 2026") for n in range(100)}) == 100


def test_waiting_for_a_turn_is_no_silence_and_ends_when_told(path: str) -> None:
    slot, host = Slot.create(), HostRate.open(path)
    pace = Pace(slot, Gate.create(), host)
    host.set_rates(1000.0, 0.0)
    slot.note(1, 0)
    before = slot.activity()
    assert pace.allow(10**6) == limits.LEAST_PIECE_BYTES, "the first piece may be read at once"
    slot.stop()
    with pytest.raises(Stopped):
        pace.allow(10**6)
    assert slot.activity() != before, "whoever watches sees that it waits"


def test_a_new_rate_ends_the_waiting_for_the_old_one(path: str) -> None:
    slot, host = Slot.create(), HostRate.open(path)
    pace = Pace(slot, Gate.create(), host)
    host.set_rates(100.0, 0.0)
    pace.allow(10**6)

    class Impatient(Slot):
        """Changes the rate while it is waited for."""

        waited = 0

        def wait(self) -> None:
            Impatient.waited += 1
            host.set_rates(1e9, 0.0)

    pace.slot = Impatient.create()
    assert pace.allow(10**6) == limits.LEAST_PIECE_BYTES
    assert Impatient.waited == 1
    assert pace.allow(10**6) == 10**6


def test_a_closed_gate_is_waited_for_in_the_middle_of_a_file() -> None:
    one = Gate.create()

    class Opens(Slot):
        """Opens the gate while it is waited for."""

        def wait(self) -> None:
            one.set(paused=False)

    one.set(paused=True)
    assert Pace(Opens.create(), one).allow(4096) == 4096


@given(
    st.lists(st.tuples(st.floats(0.1, 10), st.integers(0, 100), st.integers(0, 120)), max_size=50)
)
def test_a_lag_is_how_long_ago_the_primary_was_where_the_standby_is(
    steps: list[tuple[float, int, int]],
) -> None:
    lag, now_s, written, replayed = limits.Lag(), 100.0, 1000, 1000
    history: list[tuple[float, int]] = []
    for pause_s, more, caught_up in steps:
        now_s, written = now_s + pause_s, written + more
        replayed = min(written, replayed + caught_up)
        history.append((now_s, written))
        found = lag.seconds(now_s, written, replayed)
        if replayed == written:
            assert found == 0
        else:
            # It is somewhere behind the first time at which this much was written.
            later = [at for at, there in history if there > replayed]
            assert found >= now_s - later[0]
    assert limits.Lag().seconds(1.0, 5, None) == 0
