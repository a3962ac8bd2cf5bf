"""The main job for whoever starts it: preflight, then a run or a dry run."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

from fasthash import asking, coordinator, disks
from fasthash.config import Settings
from fasthash.controls import Controls
from fasthash.coordinator import Finished
from fasthash.dryrun import DryRun
from fasthash.errors import PreflightFailed
from fasthash.fixity import Root
from fasthash.metrics import NO_METRICS, Metrics
from fasthash.progress import Progress
from fasthash.resolver import load_resolver
from fasthash.store import pooling, preflight, session, strain
from fasthash.store.catalog import Catalog
from fasthash.store.preflight import registered_roots

ROOTS = "fasthash.roots"  # the helper's module
# A disk that has gone to sleep takes 10 s to wake up, and an automounter may ask its server twice.
ROOTS_ANSWER_S = 30.0


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
    catalog, roots = check(settings)
    if settings.workers == 0:
        cores = len(os.sched_getaffinity(0))
        settings = replace(settings, workers=disks.best_workers(roots, cores, settings.disk))
    if settings.dry_run:
        return asyncio.run(DryRun(settings, catalog, roots, progress, controls).run())
    return asyncio.run(coordinator.run(settings, catalog, roots, progress, controls, metrics))


def check(settings: Settings) -> tuple[Catalog, list[Root]]:
    """The preflight: database, catalog, ledger and roots.

    Raises:
        PreflightFailed: and what to do about it.
        DatabaseUnreachable: there is no database.
    """
    writing = not settings.dry_run
    # It starts meanwhile: 50 ms.
    with asking.Helper(ROOTS) as helper:
        with session.connect_once(settings.dsn, "preflight", settings.db_timeout_s) as connection:
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
            names = list(settings.roots) or registered_roots(connection)
        return catalog, _find_roots(helper, names, settings.root_sentinel)


def find_roots(names: list[str], sentinel: str | None) -> list[Root]:
    """The roots as they are now.

    Raises:
        PreflightFailed: there is none, or one is no directory that this user may enter, or does
            not answer.
    """
    with asking.Helper(ROOTS) as helper:
        return _find_roots(helper, names, sentinel)


def _find_roots(helper: asking.Helper, names: list[str], sentinel: str | None) -> list[Root]:
    if not names:
        raise PreflightFailed(
            "no root: say where the files lie with --root DIR (or FASTHASH_ROOTS, or roots = "
            "[..] in fasthash.toml), or add files with `fasthash register DIR`"
        )
    found = helper.ask(("find", names, sentinel), ROOTS_ANSWER_S)
    for fault in (one for one in found if isinstance(one, str)):
        raise PreflightFailed(fault)
    if len(found) < len(names):
        raise PreflightFailed(
            f"root {names[len(found)]}: its file system does not answer for {ROOTS_ANSWER_S:g} s; "
            "`fasthash doctor` names the mount, and says how to mount it anew"
        )
    return found
