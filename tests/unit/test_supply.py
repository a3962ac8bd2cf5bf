"""Ranges into units: whatever happens in whatever order, every row is settled exactly once."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from conftest import PATIENCE_S
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fasthash import parts
from fasthash.fixity import LeasedRange, Part, Result, Task, Unit
from fasthash.supply import DEATHS_A_FILE, Supply
from fasthash.units import FIRST_ROWS, UnitSize


def tasks_of(row_ids: list[str]) -> list[Task]:
    return [Task(row_id, f"path {row_id}", None, None) for row_id in row_ids]


def ids(range_no: int, rows: int) -> list[str]:
    return [f"{range_no:03d}-{n:03d}" for n in range(1, rows + 1)]


def lease(range_no: int, row_ids: list[str], term: int = 1) -> LeasedRange:
    through = row_ids[-1] if row_ids else f"{range_no:03d}-999"
    return LeasedRange(range_no, "t", f"{range_no:03d}-000", through, 0, term)


def part_of(unit: Unit, done: int, rows: int, part_no: int) -> Part:
    """What a worker sends for the next rows of a unit, numbered as the coordinator does."""
    chosen = unit.tasks[done : done + rows]
    results = [Result(t.row_id, t.path, None, "hashed", bytes(32)) for t in chosen]
    return Part(
        unit.unit_no,
        unit.range_no,
        unit.term,
        unit.tasks[done - 1].row_id if done else unit.after_id,
        chosen[-1].row_id,
        len(chosen),
        parts.pack(results),
        0,
        part_no,
    )


def between(row_ids: list[str], after_id: str | None, through_id: str) -> list[str]:
    return [r for r in row_ids if (after_id is None or r > after_id) and r <= through_id]


class Ledger:
    """The database as it matters here: who holds which range, and which rows are committed."""

    def __init__(self) -> None:
        self.rows: dict[int, list[str]] = {}
        self.term: dict[int, int] = {}
        self.ours: dict[int, bool] = {}
        self.done: set[int] = set()
        self.committed: set[str] = set()
        # What a crash may undo, in its order, the last first: parts, first leases of ranges (by
        # their number) and ends of ranges (by their number, negative).
        self.log: list[Part | int] = []

    def open_rows(self, range_no: int) -> list[str]:
        return [r for r in self.rows[range_no] if r not in self.committed]

    def fence(self, part: Part) -> bool:
        return (
            self.ours[part.range_no]
            and self.term[part.range_no] == part.term
            and part.range_no not in self.done
        )


class SupplyMachine(RuleBasedStateMachine):
    """Coordinator, workers, writer and other hosts around one supply, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.supply = Supply(workers=2)
        self.flights: dict[int, tuple[Unit, int]] = {}  # unit and rows delivered, old terms too
        self.sent: list[Part] = []  # on their way to the writer
        self.last_part_no = 0
        self.last_term = 0

    # -- what the rules are made of

    def leased(self, range_no: int) -> LeasedRange:
        return lease(range_no, self.ledger.rows[range_no], self.ledger.term[range_no])

    def holds(self, range_no: int) -> bool:
        """Whether the supply holds the range under the term the ledger knows."""
        holding = self.supply.holdings.get(range_no)
        ledger = self.ledger
        return (
            holding is not None
            and ledger.ours[range_no]
            and holding.leased.term == ledger.term[range_no]
        )

    def grant(self, range_no: int) -> None:
        self.last_term += 1
        self.ledger.term[range_no] = self.last_term
        self.ledger.ours[range_no] = True
        self.ledger.log.clear()  # taken from another host: with it all before is on the disk
        self.supply.add(self.leased(range_no), tasks_of(self.ledger.open_rows(range_no)))

    def check_unit(self, unit: Unit) -> None:
        ledger = self.ledger
        mine = [t.row_id for t in unit.tasks]
        assert mine, "a unit has rows"
        assert mine == sorted(set(mine)), "in key order, each once"
        assert set(mine) <= set(ledger.rows[unit.range_no])
        covered = between(ledger.rows[unit.range_no], unit.after_id, mine[-1])
        assert set(mine) <= set(covered)
        others = set(covered) - set(mine)
        assert others <= ledger.committed, f"(after, last] covers {others - ledger.committed}"
        if self.holds(unit.range_no) and unit.term == ledger.term[unit.range_no]:
            assert not set(mine) & ledger.committed

    def take_one(self) -> Unit | None:
        unit = self.supply.take()
        if unit is not None:
            assert unit.unit_no not in self.flights
            self.check_unit(unit)
            self.flights[unit.unit_no] = (unit, 0)
        return unit

    def deliver_rows(self, unit_no: int, rows: int) -> None:
        unit, done = self.flights[unit_no]
        self.last_part_no += 1
        part = part_of(unit, done, rows, self.last_part_no)
        self.supply.delivered(part)
        self.sent.append(part)
        done += rows
        if done == len(unit.tasks):
            del self.flights[unit_no]
            self.supply.done(unit, 0.5)
        else:
            self.flights[unit_no] = (unit, done)

    def write_one(self) -> None:
        part = self.sent.pop(0)
        if not self.ledger.fence(part):
            self.supply.fenced(part)
            return
        found = set(parts.row_ids(part))
        assert not found & self.ledger.committed, "settled twice"
        self.ledger.committed |= found
        self.ledger.log.append(part)
        self.supply.settled(part)

    def finish(self) -> None:
        for leased in self.supply.finished():
            assert not self.ledger.open_rows(leased.range_no), "finished too soon"
            if self.ledger.ours[leased.range_no]:
                self.ledger.done.add(leased.range_no)
                self.ledger.log.append(-leased.range_no)

    # -- the rules

    @initialize()
    def first_range(self) -> None:
        self.new_range(20)

    @precondition(lambda self: len(self.ledger.rows) < 8)
    @rule(rows=st.integers(0, 20))
    def new_range(self, rows: int) -> None:
        range_no = len(self.ledger.rows) + 1
        self.ledger.rows[range_no] = ids(range_no, rows)
        log = self.ledger.log[:]
        self.grant(range_no)
        self.ledger.log[:] = [*log, range_no]

    @rule(running_out=st.booleans())
    def leases_run_out(self, running_out: bool) -> None:
        self.supply.running_out = running_out

    @rule()
    def take(self) -> None:
        if self.take_one() is None:
            assert self.supply.queued_rows == 0

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        unit_no = data.draw(st.sampled_from(sorted(self.flights)))
        unit, done = self.flights[unit_no]
        left = len(unit.tasks) - done
        self.deliver_rows(unit_no, data.draw(st.just(left) | st.integers(1, left)))

    @precondition(lambda self: self.sent)
    @rule(rows=st.integers(1, 3))
    def write(self, rows: int) -> None:
        for _ in range(min(rows, len(self.sent))):
            self.write_one()

    @rule()
    def look_for_finished(self) -> None:
        self.finish()

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def worker_dies(self, data: st.DataObject) -> None:
        unit_no = data.draw(st.sampled_from(sorted(self.flights)))
        unit, done = self.flights.pop(unit_no)
        blamed = data.draw(st.none() | st.integers(0, len(unit.tasks) - 1))
        self.supply.give_back(unit, done, blamed)

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def worker_hangs(self, data: st.DataObject) -> None:
        """It keeps the row it is in; all others wait again."""
        unit_no = data.draw(st.sampled_from(sorted(self.flights)))
        unit, done = self.flights[unit_no]
        kept = data.draw(st.integers(done, len(unit.tasks) - 1))
        left = self.supply.take_back(unit, done, kept)
        assert left.tasks == unit.tasks[kept : kept + 1]
        self.check_unit(left)
        self.flights[unit_no] = (left, 0)

    @precondition(lambda self: any(map(self.holds, self.ledger.rows)))
    @rule(data=st.data(), known_at_once=st.booleans(), theirs=st.integers(0, 5))
    def lose(self, data: st.DataObject, known_at_once: bool, theirs: int) -> None:
        """Another host takes a range over, and commits some of its next rows."""
        range_no = data.draw(st.sampled_from(list(filter(self.holds, self.ledger.rows))))
        self.last_term += 1
        self.ledger.term[range_no] = self.last_term
        self.ledger.ours[range_no] = False
        self.ledger.committed |= set(self.ledger.open_rows(range_no)[:theirs])
        self.ledger.log.clear()
        if known_at_once:
            self.supply.drop([range_no])

    @precondition(lambda self: not all(self.ledger.ours.values()))
    @rule(data=st.data())
    def lease_again(self, data: st.DataObject) -> None:
        lost = [n for n, ours in self.ledger.ours.items() if not ours]
        self.grant(data.draw(st.sampled_from(lost)))

    @rule(undone=st.integers(0, 6), meanwhile=st.integers(0, 3), data=st.data())
    def server_crashes(self, undone: int, meanwhile: int, data: st.DataObject) -> None:
        """The last commits are undone; then the coordinator reads the ledger again."""
        ledger = self.ledger
        while self.sent:  # what was sent is settled first
            self.write_one()
        for _ in range(min(undone, len(ledger.log))):
            last = ledger.log[-1]
            if isinstance(last, Part) and last.unit_no in self.flights:
                break  # has a test of its own below
            ledger.log.pop()
            if isinstance(last, Part):
                ledger.committed -= set(parts.row_ids(last))
            elif last < 0:
                ledger.done.discard(-last)
            else:
                ledger.ours[last] = False
        held = [n for n in ledger.rows if ledger.ours[n] and n not in ledger.done]
        holdings = self.supply.holdings
        gone = [n for n, h in holdings.items() if n not in held or h.leased.term != ledger.term[n]]
        self.supply.drop(gone)
        for range_no in held:
            was_held = range_no in holdings
            known = self.supply.in_hand(range_no)
            for _ in range(meanwhile):
                self._something(data)
            tasks = tasks_of(ledger.open_rows(range_no))
            for _ in range(meanwhile):
                self._something(data)
            if was_held:
                self.supply.reconcile(self.leased(range_no), known, tasks)
            else:
                self.supply.add(self.leased(range_no), tasks)
        # What a server that starts again has found is on the disk. (That it crashes once more,
        # and undoes what was written while the ledger was read, is left out.)
        ledger.log.clear()

    def _something(self, data: st.DataObject) -> None:
        """What goes on while the ledger is read."""
        what = data.draw(st.sampled_from(["take", "deliver", "write", "die"]))
        if what == "take":
            self.take_one()
        elif what == "write" and self.sent:
            self.write_one()
        elif what in ("deliver", "die") and self.flights:
            unit_no = min(self.flights)
            unit, done = self.flights[unit_no]
            if what == "deliver":
                self.deliver_rows(unit_no, len(unit.tasks) - done)
            else:
                del self.flights[unit_no]
                self.supply.give_back(unit, done)

    # -- what always holds

    @invariant()
    def the_queue_is_counted_right(self) -> None:
        pieces = [p for h in self.supply.holdings.values() for p in h.pieces]
        assert self.supply.queued_rows == sum(p.waiting for p in pieces)
        assert all(p.waiting > 0 for p in pieces)

    @invariant()
    def every_row_is_in_one_place(self) -> None:
        for range_no in filter(self.holds, self.ledger.rows):
            holding = self.supply.holdings[range_no]
            places = Counter(t.row_id for p in holding.pieces for t in p.tasks[p.position :])
            term = holding.leased.term
            for unit, done in self.flights.values():
                if (unit.range_no, unit.term) == (range_no, term):
                    places.update(t.row_id for t in unit.tasks[done:])
            for part in self.sent:
                if (part.range_no, part.term) == (range_no, term):
                    places.update(parts.row_ids(part))
            places.update(set(self.ledger.rows[range_no]) & self.ledger.committed)
            assert places == Counter(self.ledger.rows[range_no]), range_no

    def teardown(self) -> None:
        """In the end all is done, whatever was before."""
        for range_no in self.ledger.rows:
            if not self.ledger.ours[range_no]:
                self.grant(range_no)
        while self.flights or self.sent or self.supply.queued_rows:
            self.take_one()
            for unit_no, (unit, done) in list(self.flights.items()):
                self.deliver_rows(unit_no, len(unit.tasks) - done)
            while self.sent:
                self.write_one()
        self.finish()
        assert not self.supply.holdings
        assert self.ledger.committed == {r for rows in self.ledger.rows.values() for r in rows}


# Shrinking such a story takes longer than the time a test has.
SupplyMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, phases=[Phase.reuse, Phase.generate]
)
TestSupply = SupplyMachine.TestCase


def in_units(supply: Supply) -> list[Unit]:
    found = []
    while (unit := supply.take()) is not None:
        found.append(unit)
    return found


def test_what_is_cut_goes_out_in_key_order_without_a_gap() -> None:
    supply = Supply(workers=4)
    rows = ids(1, 500)
    supply.add(lease(1, rows), tasks_of(rows))
    units = in_units(supply)
    assert [t.row_id for u in units for t in u.tasks] == rows
    after: str | None = "001-000"
    for unit in units:
        assert unit.after_id == after
        after = unit.tasks[-1].row_id
    assert len({u.unit_no for u in units}) == len(units) > 4
    assert not any(u.sweep for u in units)


def test_units_of_a_later_pass_say_so() -> None:
    supply = Supply(workers=1)
    supply.add(replace(lease(1, ids(1, 3)), pass_no=2), tasks_of(ids(1, 3)))
    assert all(u.sweep for u in in_units(supply))


def test_at_the_end_of_a_run_the_rest_is_spread() -> None:
    supply = Supply(workers=4)
    supply.unit_size = UnitSize(64, 0.001)
    supply.running_out = True
    supply.add(lease(1, ids(1, 16)), tasks_of(ids(1, 16)))
    assert [len(u.tasks) for u in in_units(supply)][:2] == [2, 2]


def test_the_first_rows_are_spread_for_they_may_be_huge_files() -> None:
    supply = Supply(workers=2)
    supply.add(lease(1, ids(1, 16)), tasks_of(ids(1, 16)))
    assert [len(u.tasks) for u in in_units(supply)][:5] == [2, 2, 2, 2, 2]
    supply.add(lease(2, ids(2, 1_000)), tasks_of(ids(2, 1_000)))
    unit = supply.take()
    assert unit is not None
    assert len(unit.tasks) == FIRST_ROWS


def test_a_range_without_rows_is_finished_at_once() -> None:
    supply = Supply(workers=1)
    supply.add(lease(1, []), [])
    assert supply.take() is None
    assert [r.range_no for r in supply.finished()] == [1]
    assert supply.finished() == []


def test_a_range_is_finished_only_when_its_last_part_is_settled() -> None:
    supply = Supply(workers=1)
    supply.add(lease(1, ids(1, 4)), tasks_of(ids(1, 4)))
    (unit,) = in_units(supply)
    first, second = part_of(unit, 0, 2, 1), part_of(unit, 2, 2, 2)
    supply.delivered(first)
    supply.settled(first)
    assert supply.finished() == []
    supply.delivered(second)
    supply.done(unit, 1.0)
    assert supply.finished() == []
    supply.settled(second)
    assert len(supply.finished()) == 1


def test_a_given_back_unit_comes_again_first_and_without_what_was_delivered() -> None:
    supply = Supply(workers=1)
    supply.add(lease(1, ids(1, 200)), tasks_of(ids(1, 200)))
    unit = supply.take()
    assert unit is not None
    supply.delivered(part_of(unit, 0, 5, 1))
    supply.give_back(unit, 5)
    again = supply.take()
    assert again is not None
    assert again.after_id == unit.tasks[4].row_id
    assert again.tasks[0] == unit.tasks[5]
    assert again.unit_no != unit.unit_no


def test_units_given_back_in_reverse_come_in_their_old_order() -> None:
    supply = Supply(workers=1)
    rows = ids(1, 100)
    supply.add(lease(1, rows), tasks_of(rows))
    units = in_units(supply)
    for unit in reversed(units):
        supply.give_back(unit, 0)
    assert [t.row_id for u in in_units(supply) for t in u.tasks] == rows


def test_a_file_that_kills_is_read_carefully_and_then_not_at_all() -> None:
    supply = Supply(workers=1)
    supply.add(lease(1, ids(1, 5)), tasks_of(ids(1, 5)))
    for death in range(1, DEATHS_A_FILE + 1):
        (unit,) = in_units(supply)
        assert unit.tasks[2].careful == (death > 1)
        assert all(not t.careful for n, t in enumerate(unit.tasks) if n != 2)
        assert all(t.preset is None for t in unit.tasks)
        supply.give_back(unit, 0, blamed=2)
    (unit,) = in_units(supply)
    assert unit.tasks[2].preset == "unreadable"
    assert "2 workers died" in (unit.tasks[2].detail or "")
    assert [t.preset for n, t in enumerate(unit.tasks) if n != 2] == [None] * 4


def test_deaths_are_counted_by_row_and_over_leases() -> None:
    supply = Supply(workers=1)
    supply.add(lease(1, ids(1, 3), term=1), tasks_of(ids(1, 3)))
    (unit,) = in_units(supply)
    supply.give_back(unit, 0, blamed=0)
    supply.drop([1])
    supply.add(lease(1, ids(1, 3), term=2), tasks_of(ids(1, 3)))
    (unit,) = in_units(supply)
    supply.give_back(unit, 0, blamed=1)
    (unit,) = in_units(supply)
    assert [t.preset for t in unit.tasks] == [None, None, None]
    supply.give_back(unit, 0, blamed=0)
    (unit,) = in_units(supply)
    assert [t.preset for t in unit.tasks] == ["unreadable", None, None]


def test_a_file_whose_result_was_delivered_is_not_to_blame() -> None:
    supply = Supply(workers=1)
    supply.add(lease(1, ids(1, 3)), tasks_of(ids(1, 3)))
    (unit,) = in_units(supply)
    supply.delivered(part_of(unit, 0, 2, 1))
    supply.give_back(unit, 2, blamed=1)
    (unit,) = in_units(supply)
    assert unit.tasks == tuple(tasks_of(ids(1, 3)[2:]))


@pytest.mark.parametrize("late", ["delivered", "settled", "done", "give_back", "fenced"])
def test_what_comes_late_from_an_older_lease_changes_nothing(late: str) -> None:
    supply = Supply(workers=1)
    rows = ids(1, 4)
    supply.add(lease(1, rows, term=1), tasks_of(rows))
    (old,) = in_units(supply)
    part = part_of(old, 0, 4, 1)
    supply.delivered(part)
    supply.add(lease(1, rows, term=2), tasks_of(rows))
    if late == "done":
        supply.done(old, 1.0)
    elif late == "give_back":
        supply.give_back(old, 0)
    else:
        getattr(supply, late)(part)
    assert supply.in_hand(1) == set(rows)
    assert supply.queued_rows == 4
    (unit,) = in_units(supply)
    assert unit.term == 2
    assert supply.finished() == []


def test_a_refused_part_gives_its_range_up() -> None:
    supply = Supply(workers=1)
    supply.add(lease(1, ids(1, 100)), tasks_of(ids(1, 100)))
    unit = supply.take()
    assert unit is not None
    part = part_of(unit, 0, 2, 1)
    supply.delivered(part)
    supply.fenced(part)
    assert supply.queued_rows == 0
    assert supply.take() is None
    assert supply.finished() == []


def test_rows_between_two_that_are_in_hand_come_with_the_right_beginning() -> None:
    supply = Supply(workers=1)
    rows = ids(1, 6)
    supply.add(lease(1, rows), tasks_of(rows[:1] + rows[3:4]))
    in_units(supply)
    supply.reconcile(lease(1, rows), {rows[0], rows[3]}, tasks_of(rows))
    found = in_units(supply)
    assert [(u.after_id, [t.row_id for t in u.tasks]) for u in found] == [
        (rows[0], rows[1:3]),
        (rows[3], rows[4:]),
    ]


def test_undone_rows_of_a_unit_that_is_still_in_flight_are_queued_again() -> None:
    supply = Supply(workers=1)
    rows = ids(1, 4)
    supply.add(lease(1, rows), tasks_of(rows))
    (unit,) = in_units(supply)
    first = part_of(unit, 0, 2, 1)
    supply.delivered(first)
    supply.settled(first)
    # Here the server crashes, and the commit of the first part with it.
    supply.reconcile(lease(1, rows), supply.in_hand(1), tasks_of(rows))
    second = part_of(unit, 2, 2, 2)
    supply.delivered(second)
    supply.done(unit, 1.0)
    supply.settled(second)
    assert supply.finished() == []
    (again,) = in_units(supply)
    assert (again.after_id, [t.row_id for t in again.tasks]) == ("001-000", rows[:2])


def test_a_range_that_comes_back_under_its_term_does_not_take_old_units_back() -> None:
    supply = Supply(workers=1)
    rows = ids(1, 4)
    supply.add(lease(1, rows), tasks_of(rows))
    (old,) = in_units(supply)
    first = part_of(old, 0, 1, 1)
    supply.delivered(first)
    supply.fenced(first)
    supply.add(lease(1, rows), tasks_of(rows))
    supply.give_back(old, 1)
    handed_out = Counter(t.row_id for u in in_units(supply) for t in u.tasks)
    assert handed_out == Counter(rows)


def test_holding_and_stopping_hand_nothing_out() -> None:
    supply = Supply(workers=1)
    supply.add(lease(1, ids(1, 4)), tasks_of(ids(1, 4)))
    supply.hold("replication lag")
    assert supply.held == "replication lag"
    assert supply.take() is None
    supply.hold(None)
    supply.stop()
    assert supply.take() is None
    assert supply.queued_rows == 4


def test_whoever_waits_is_woken_by_whatever_may_concern_him() -> None:
    async def scene() -> None:
        supply = Supply(workers=1)
        rows = ids(1, 1)
        waiting = [asyncio.create_task(supply.next()) for _ in range(2)]
        await asyncio.sleep(0)
        assert not any(w.done() for w in waiting)
        supply.hold("held")
        supply.add(lease(1, rows), tasks_of(rows))
        await asyncio.sleep(0.01)
        assert not any(w.done() for w in waiting)
        supply.hold(None)
        await asyncio.sleep(0.01)
        (got,) = [w for w in waiting if w.done()]
        (other,) = [w for w in waiting if not w.done()]
        unit = got.result()
        assert unit is not None
        supply.close()
        await asyncio.sleep(0.01)
        assert not other.done(), "the rows in flight may come back"
        supply.give_back(unit, 0)
        again = await asyncio.wait_for(other, PATIENCE_S)
        assert again is not None
        last = asyncio.create_task(supply.next())
        part = part_of(again, 0, 1, 1)
        supply.delivered(part)
        supply.done(again, 1.0)
        await asyncio.sleep(0.01)
        assert not last.done(), "not before its range is committed and given up"
        supply.settled(part)
        supply.finished()
        supply.wake()
        assert await asyncio.wait_for(last, PATIENCE_S) is None

    asyncio.run(scene())


def test_stopping_ends_every_wait() -> None:
    async def scene() -> None:
        supply = Supply(workers=1)
        waiting = [asyncio.create_task(supply.next()) for _ in range(3)]
        await asyncio.sleep(0)
        supply.stop()
        assert await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE_S) == [None] * 3

    asyncio.run(scene())


def test_a_cancellation_that_comes_with_a_change_is_none_the_less_one() -> None:
    """Else a run whose database is lost in that moment waits for its leasing for ever."""

    async def scene() -> None:
        supply = Supply(workers=1)
        for ticks in range(4):  # whatever step of the loop it comes at
            supply.changed.clear()
            waiting = asyncio.create_task(supply.change(PATIENCE_S))
            await asyncio.sleep(0)
            supply.changed.set()
            for _ in range(ticks):
                await asyncio.sleep(0)
            if not waiting.done():
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting

    asyncio.run(scene())
