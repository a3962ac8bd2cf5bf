"""The examination: all facts, gathered in the order of rising trouble."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from fasthash.config import CatalogNames, Courtesy
from fasthash.doctor import machine, places, work
from fasthash.errors import ConfigError, DatabaseUnreachable
from fasthash.facts import DatabaseFacts, Facts, RootFacts, SampledFiles, Wishes
from fasthash.resolver import load_resolver

if TYPE_CHECKING:
    from fasthash.store.catalog import Catalog
    from fasthash.store.diagnose import Look

SAMPLED_FILES = 100


@dataclass(frozen=True, slots=True)
class Patient:
    """What to look at.

    Args:
        dsn: of the database, or None where there is none, for the reason `absent`.
        absent: see `dsn`.
        names: of the catalog.
        roots: as configured.
        plan: the options that a run has to be the same in.
        update_function: the site's own.
        courtesy: what holds a run.
        wishes: what findings are judged by.
    """

    dsn: str | None
    absent: str | None
    names: CatalogNames
    roots: tuple[str, ...]
    plan: work.Plan
    update_function: str | None
    courtesy: Courtesy
    wishes: Wishes


class Seen(NamedTuple):
    """What came of the database: its facts, the roots, and some of the catalog's paths."""

    database: DatabaseFacts
    roots: list[RootFacts]
    paths: tuple[str, ...] = ()


def examine(patient: Patient) -> Facts:
    """All facts; takes a second or two, and where something does not answer up to half a minute."""
    wishes = _with_resolver(patient)
    database, roots, paths = _look_at_database(patient)
    files = SampledFiles()
    there = [root for root in roots if root.error is None and not root.silent]
    if paths and there and wishes.resolver_refusal is None:
        files = places.look_at_files(paths, there, patient.plan.resolver)
    cores = len(os.sched_getaffinity(0))
    return Facts(
        wishes=wishes,
        machine=machine.look(),
        roots=tuple(roots),
        database=database,
        files=files,
        workers=work.choose_workers(wishes.workers, wishes.disk, roots, cores),
        hold=work.find_hold(patient.courtesy, database.server),
    )


def _with_resolver(patient: Patient) -> Wishes:
    if patient.plan.resolver is not None:
        try:
            load_resolver(patient.plan.resolver)
        except ConfigError as error:
            return replace(patient.wishes, resolver_refusal=str(error))
    return patient.wishes


def _look_at_roots(names: Sequence[str], sentinel: str | None) -> list[RootFacts]:
    return [places.look_at_root(name, sentinel) for name in names]


def _look_at_database(patient: Patient) -> Seen:
    """The database, and the roots, which it may be the one to name."""
    sentinel = patient.wishes.root_sentinel
    if patient.dsn is None:
        absent = DatabaseFacts(absent=patient.absent)
        return Seen(absent, _look_at_roots(patient.roots, sentinel))
    from fasthash.store import answers, diagnose, session  # noqa: PLC0415

    where = session.describe(patient.dsn)
    try:
        look = diagnose.Look(patient.dsn)
    except DatabaseUnreachable as error:
        unreachable = DatabaseFacts(where=where, unreachable=str(error))
        return Seen(unreachable, _look_at_roots(patient.roots, sentinel))
    try:
        seen = _through(look, patient)
        database = replace(seen.database, where=look.where, unseen=tuple(look.unseen))
        return seen._replace(database=database)
    except answers.DatabaseError as error:
        lost = DatabaseFacts(where, unreachable=f"{where} was lost: {answers.one_line(error)}")
        return Seen(lost, _look_at_roots(patient.roots, sentinel))
    finally:
        look.close()


def _through(look: Look, patient: Patient) -> Seen:
    """What is seen through a session."""
    from fasthash.store import diagnose, preflight  # noqa: PLC0415

    server = look.see("the server", diagnose.server_facts)
    if server is not None:
        server = replace(server, pooling=look.pooling())
    table = look.see("the catalog", diagnose.table_facts, patient.names)
    ledger = look.see("the ledger", diagnose.ledger_facts)
    registered: list[str] = []
    has_ledger = ledger is not None and ledger.version > 0
    if has_ledger and not patient.roots:
        registered = look.see("registered roots", preflight.registered_roots) or []
    roots = _look_at_roots(patient.roots or registered, patient.wishes.root_sentinel)
    facts = DatabaseFacts(server=server, table=table, ledger=ledger, roots=tuple(registered))
    bound = look.see("the catalog", diagnose.bind, patient.names)
    if bound is None or isinstance(bound, str):
        missing = bound if table is None else None
        return Seen(replace(facts, no_table=missing), roots)
    facts, paths = _look_at_rows(look, patient, bound, facts)
    if has_ledger:
        runs = look.see("unfinished runs", work.open_runs, bound, patient.plan, roots)
        drifts = look.see("open drifts", diagnose.open_drifts, bound)
        facts = replace(facts, runs=runs or (), drifts_open=drifts or 0)
    return Seen(facts, roots, paths)


def _look_at_rows(
    look: Look, patient: Patient, catalog: Catalog, facts: DatabaseFacts
) -> tuple[DatabaseFacts, tuple[str, ...]]:
    """With how many rows there are, and the paths of some."""
    from fasthash.store import preflight, strain, tallies  # noqa: PLC0415

    types = patient.plan.types
    objections = [look.objection("types", preflight.check_types, catalog, types)]
    if patient.update_function is not None:
        name = patient.update_function
        objections.append(look.objection(name, preflight.find_function, catalog, name))
    if patient.courtesy.most_replication_lag_s:
        objections.append(look.objection("standbys", strain.check_visible))
    refusals = tuple(text for text in objections if text is not None)
    heaps = facts.table.heaps if facts.table is not None else ()
    rows = look.see("the number of rows", tallies.row_facts, catalog, types, heaps)
    paths = look.see("some rows", tallies.sample_paths, catalog, types, heaps, SAMPLED_FILES)
    return replace(facts, refusals=refusals, rows=rows), paths or ()
