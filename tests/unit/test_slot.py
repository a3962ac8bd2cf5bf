"""The shared memory of a worker: both sides see the same, and a stop is heard at once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash.slot import Slot
from fasthash.watching import Stopped


@pytest.fixture
def sides() -> Iterator[tuple[Slot, Slot]]:
    """The coordinator's and the worker's end of one slot."""
    coordinator = Slot.create()
    worker = Slot(os.dup(coordinator.descriptor))
    yield coordinator, worker
    worker.close()
    coordinator.close()


def test_a_new_slot_is_idle_and_not_stopping(sides: tuple[Slot, Slot]) -> None:
    for side in sides:
        assert side.activity() is None
        assert not side.stopping


def test_the_file_noted_shows_on_the_other_side(sides: tuple[Slot, Slot]) -> None:
    coordinator, worker = sides
    before = time.time()
    worker.note(7, 3)
    worker.advance(100)
    worker.advance(11)
    activity = coordinator.activity()
    assert activity is not None
    assert (activity.unit_no, activity.index, activity.read_bytes) == (7, 3, 111)
    assert before - 0.001 <= activity.since_s <= time.time() + 0.001
    worker.idle()
    assert coordinator.activity() is None


def test_the_next_file_begins_at_nothing_read(sides: tuple[Slot, Slot]) -> None:
    coordinator, worker = sides
    worker.note(1, 0)
    worker.advance(5_000)
    worker.note(1, 1)
    activity = coordinator.activity()
    assert activity is not None
    assert activity.read_bytes == 0
    worker.advance(2)
    activity = coordinator.activity()
    assert activity is not None
    assert activity.read_bytes == 2


def test_index_nought_of_unit_nought_is_not_idle(sides: tuple[Slot, Slot]) -> None:
    coordinator, worker = sides
    worker.note(0, 0)
    activity = coordinator.activity()
    assert activity is not None
    assert (activity.unit_no, activity.index) == (0, 0)


def test_a_stop_is_heard_at_the_next_piece_and_stays(sides: tuple[Slot, Slot]) -> None:
    coordinator, worker = sides
    worker.note(1, 2)
    worker.advance(10)
    coordinator.stop()
    assert worker.stopping
    for _ in range(2):
        with pytest.raises(Stopped):
            worker.advance(1)
    worker.note(1, 3)  # noting another file takes no stop back
    with pytest.raises(Stopped):
        worker.advance(0)
    activity = coordinator.activity()
    assert activity is not None
    assert activity.index == 3


def test_what_was_noted_stays_readable_when_the_worker_is_gone(sides: tuple[Slot, Slot]) -> None:
    coordinator = sides[0]
    child = os.fork()
    if child == 0:
        Slot(coordinator.descriptor).note(41, 42)
        os._exit(9)
    os.waitpid(child, 0)
    activity = coordinator.activity()
    assert activity is not None
    assert (activity.unit_no, activity.index) == (41, 42)


def test_the_descriptor_is_not_inherited_by_chance() -> None:
    slot = Slot.create()
    assert not os.get_inheritable(slot.descriptor)
    descriptor = slot.descriptor
    slot.close()
    with pytest.raises(OSError):
        os.fstat(descriptor)


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**31), st.lists(st.integers(0, 2**40)))
def test_any_numbers_pass(unit_no: int, index: int, pieces: list[int]) -> None:
    slot = Slot.create()
    try:
        slot.note(unit_no, index)
        for piece in pieces:
            slot.advance(piece)
        activity = slot.activity()
        assert activity is not None
        assert (activity.unit_no, activity.index) == (unit_no, index)
        assert activity.read_bytes == sum(pieces)
    finally:
        slot.close()
