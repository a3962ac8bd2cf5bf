"""The main job for whoever starts it: preflight, then a run or a dry run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace

from fasthash import asking, coordinator, disks, evidence, probe
from fasthash.config import Settings
from fasthash.controls import Controls
from fasthash.coordinator import Finished
from fasthash.dryrun import DryRun
from fasthash.errors import PreflightFailed
from fasthash.evidence import Evidence, Look
from fasthash.fixity import Root
from fasthash.logs import printable
from fasthash.metrics import NO_METRICS, Metrics
from fasthash.progress import Progress
from fasthash.resolver import load_resolver
from fasthash.store import pooling, preflight, probing, session, strain
from fasthash.store.catalog import Catalog
from fasthash.store.preflight import registered_roots
from fasthash.store.probing import FEW, MANY

# A disk that has gone to sleep takes 10 s to wake up, and an automounter may ask its server twice.
ROOTS_ANSWER_S = 30.0
# Files that take longer, or a site's resolver, do not keep a run from its beginning.
SOME_FILES_S, MANY_FILES_S = 1.0, 20.0


def run_job(
    settings: Settings, progress: Progress, controls: Controls, metrics: Metrics = NO_METRICS
) -> Finished:
    """Checks everything that can be checked, then runs.

    Args:
        settings: what to do.
        progress: shown to whoever waits.
        controls: from where it may be stopped.
        metrics: told to whoever watches; a dry run has none.

    Raises:
        FasthashError: nothing was begun.
    """
    if settings.resolver is not None:
        load_resolver(settings.resolver)
    catalog, roots, found = check(settings)
    if settings.workers == 0:
        cores = len(os.sched_getaffinity(0))
        settings = replace(settings, workers=disks.best_workers(roots, cores, settings.disk))
    if settings.dry_run:
        return asyncio.run(DryRun(settings, catalog, roots, progress, controls).run())
    return asyncio.run(
        coordinator.run(settings, catalog, roots, found, progress, controls, metrics)
    )


def check(settings: Settings) -> tuple[Catalog, list[Root], tuple[Evidence, ...]]:
    """The preflight: database, catalog, ledger, roots, and some of the files.

    Returns:
        The catalog, the roots, and some of the files that are there.

    Raises:
        PreflightFailed: and what to do about it.
        DatabaseUnreachable: there is no database.
    """
    # It starts meanwhile: 50 ms.
    with asking.Helper(probe.MODULE) as helper:
        with session.connect_once(settings.dsn, "preflight", settings.db_timeout_s) as connection:
            catalog = _check_database(connection, settings)
            names = settings.roots or tuple(registered_roots(connection))
            # A site's resolver is not asked before there is a ledger of what it was asked: a row
            # at which it takes the whole run down would never be found out.
            may_look = not settings.dry_run and settings.resolver is None
            rows = _some_rows(connection, catalog, settings, FEW) if may_look else ()
            question = probe.Question(names, settings.root_sentinel, rows)
            roots, looks = _find_roots(helper, question, SOME_FILES_S)
            if evidence.none_there(looks) is not None and not settings.missing_ok:
                rows = _some_rows(connection, catalog, settings, MANY)
                looks = _look_again(replace(question, rows=rows))
                _refuse_where_none_is_there(roots, looks)
        return catalog, roots, evidence.kept(looks)


def _some_rows(
    connection: session.Connection, catalog: Catalog, settings: Settings, at_each_end: int
) -> probing.Rows:
    return probing.sample(connection, catalog, settings.types, at_each_end)


def _check_database(connection: session.Connection, settings: Settings) -> Catalog:
    writing = not settings.dry_run
    preflight.check_server(connection, writing=writing)
    if writing:
        pooling.require_session(settings.dsn, connection)
        preflight.check_room(connection)
    catalog = preflight.check_catalog(
        connection,
        settings.catalog,
        writing=writing,
        update_function=settings.update_function,
    )
    if writing or settings.scrub is not None or settings.precheck != "off":
        preflight.check_ledger(connection)
    if writing:
        preflight.try_to_write(connection, catalog)
        preflight.hint_at_indexes(connection, catalog)
        preflight.hint_at_children(catalog)
    if settings.courtesy.most_replication_lag_s:
        strain.check_visible(connection)
    preflight.check_types(connection, catalog, settings.types)
    return catalog


def find_roots(names: list[str], sentinel: str | None) -> list[Root]:
    """The roots as they are now.

    Raises:
        PreflightFailed: there is none, or one is no directory that this user may enter, or does
            not answer.
    """
    with asking.Helper(probe.MODULE) as helper:
        return _find_roots(helper, probe.Question(tuple(names), sentinel), 0.0)[0]


def _look_again(question: probe.Question) -> list[Look]:
    with asking.Helper(probe.MODULE) as helper:
        return _find_roots(helper, question, MANY_FILES_S)[1]


def _find_roots(
    helper: asking.Helper, question: probe.Question, files_s: float
) -> tuple[list[Root], list[Look]]:
    names = question.roots
    if not names:
        raise PreflightFailed(
            "no root: say where the files lie with --root DIR (or FASTHASH_ROOTS, or roots = "
            "[..] in fasthash.toml), or add files with `fasthash register DIR`"
        )
    found = helper.ask(question, ROOTS_ANSWER_S, needed=len(names), more_s=files_s)
    roots, looks = found[: len(names)], found[len(names) :]
    for fault in (one for one in roots if isinstance(one, str)):
        raise PreflightFailed(fault)
    if len(roots) < len(names):
        raise PreflightFailed(
            f"root {names[len(roots)]}: its file system does not answer for {ROOTS_ANSWER_S:g} s; "
            "`fasthash doctor` names the mount, and says how to mount it anew"
        )
    return roots, looks + _unanswered(question, len(looks))


def _unanswered(question: probe.Question, answered: int) -> list[Look]:
    return [Look(row_id, path, None) for row_id, path in question.rows[answered:]]


def _refuse_where_none_is_there(roots: Sequence[Root], looks: Sequence[Look]) -> None:
    first = evidence.none_there(looks)
    if first is not None:
        below = ", ".join(printable(os.fsdecode(root.path)) for root in roots)
        raise PreflightFailed(
            f"not one of {len(looks)} files of the catalog was found below {below} (row "
            f"{first.row_id}: {printable(first.path)}: {first.detail}): is the right disk "
            "mounted, and --root what the paths are relative to? If they are gone: --missing-ok"
        )
