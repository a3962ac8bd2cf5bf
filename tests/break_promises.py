"""Breaks each promise on purpose and sees a test fail: `python tests/break_promises.py [NAME]`.

Works on a copy of the project in a temporary directory; takes some minutes. A break that no test
notices ends the script with status 1.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).parents[1]


class Break(NamedTuple):
    """One promise, what is done to the code, and the tests of which one has to fail."""

    promise: str
    file: str
    before: str
    after: str
    tests: str


A = "tests/acceptance/"
FENCE = (
    "FROM fasthash.checkpoint c\nJOIN unnest(%(range_no)s::integer[], %(term)s::integer[]) "
    "AS f (range_no, term)\n  ON f.range_no = c.range_no"
)
BREAKS = {
    "keys": Break(
        "only the three keys change", "sql/result.sql",
        "coalesce(a.{metadata}, '{{}}'::jsonb) || p.patch", "p.patch",
        A + "test_main_job.py",
    ),
    "moment": Break(
        "drift is decided at the moment of writing", "sql/result.sql",
        "WHEN {compared_now} IS NULL THEN 'hashed'", "WHEN true THEN 'hashed'",
        A + "test_live_application.py::test_a_hash_that_appears_after_the_lease_is_judged"
        "_when_writing",
    ),
    "moved": Break(
        "a row that moved is not written", "sql/result.sql",
        "WHEN l.path_now IS DISTINCT FROM i.path THEN 'moved'", "",
        A + "test_live_application.py::test_no_foreign_change_is_lost",
    ),
    "fresh": Break(
        "another job's marker is left alone", "sql/result.sql",
        "WHEN l.old_marker IS DISTINCT FROM i.marker THEN\n                   CASE WHEN "
        "{marker_now} IS NULL THEN 'moved' ELSE 'fresh' END", "",
        A + "test_live_application.py::test_another_job_that_marks_a_row_first_is_left_alone",
    ),
    "locks": Break(
        "never waits for a row while it holds others", "sql/result.sql",
        "FOR NO KEY UPDATE OF a SKIP LOCKED\n),\n{met}", "FOR NO KEY UPDATE OF a\n),\n{met}",
        A + "test_contention.py",
    ),
    "fence": Break(
        "late results are fenced off", "sql/result.sql",
        "WHERE c.run_id = %(run_id)s AND c.state = 'leased' AND c.holder_id = %(holder_id)s\n"
        "ORDER", "WHERE c.run_id = %(run_id)s\nORDER",
        A + "test_coordinators.py tests/integration/test_lease_protocol.py",
    ),
    "term": Break(
        "a lease that comes back has another term", "sql/result.sql",
        "SELECT c.range_no, c.term\n" + FENCE + " AND f.term = c.term",
        "SELECT c.range_no, f.term\n" + FENCE,
        "tests/integration/test_lease_protocol.py",
    ),
    "commit": Break(
        "an ambiguous commit is settled", "store/results.py",
        'return [by_name[row["segment_no"]] for row in rows]',
        "list(rows); return list(by_name.values())",
        A + "test_crashes.py::test_at_the_commit tests/integration/test_lease_protocol.py",
    ),
    "first_met": Break(
        "every row counts once", "store/applying.py",
        'first_met=sql.SQL("m.row_id IS NULL")', 'first_met=sql.SQL("true")',
        "tests/integration/test_lease_protocol.py tests/integration/test_moment_of_writing.py",
    ),
    "sweep": Break(
        "rows behind the frontier are found by the last sweep", "store/planning.py",
        "self.types, most) if most else []", "self.types, most)[:0]",
        A + "test_resume.py::test_new_rows_behind_and_ahead_are_met "
        + A + "test_live_application.py::test_no_foreign_change_is_lost",
    ),
    "state": Break(
        "a hash describes one state of a file", "files.py",
        "count != size_bytes or moved(opened.facts, after)", "False",
        A + "test_hostile_files.py tests/unit/test_reading.py",
    ),
    "racy": Break(
        "stamps that stand still prove nothing", "files.py",
        "RACY_NS = 2_000_000_000", "RACY_NS = 0",
        A + "test_hostile_files.py::test_a_writer_that_never_stops_leaves_no_torn_hash "
        "tests/unit/test_reading.py",
    ),
    "short": Break(
        "bytes read equal the size", "files.py",
        "count != size_bytes or moved(", "moved(",
        A + "test_failing_reads.py tests/unit/test_files.py",
    ),
    "errors": Break(
        "a read that fails once is done again", "problems.py",
        "frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR, errno.EAGAIN})",
        "frozenset()",
        A + "test_failing_reads.py tests/unit/test_files.py",
    ),
    "roots": Break(
        "a vanished mount is not a million missing files", "roots.py",
        "    for root in roots:\n        try:\n            now", "    for root in ():\n"
        "        try:\n            now",
        A + "test_roots.py",
    ),
    "remount": Break(
        "a root is the same on another device", "sameness.py",
        "return None if before.file_system == now.file_system else ANOTHER", "return ANOTHER",
        A + "test_roots.py tests/unit/test_sameness.py",
    ),
    "stranger": Break(
        "another file system with the number of the first is no root", "sameness.py",
        "return None if before.file_system == now.file_system else ANOTHER", "return None",
        "tests/unit/test_sameness.py",
    ),
    "look": Break(
        "what a path leads to is looked at before it is opened", "cautious.py",
        "        judge(name, facts)\n        try:\n"
        "            return os.open(itself, flags), facts",
        "        try:\n            found = os.open(itself, flags), facts\n"
        "            judge(name, facts)\n            return found",
        "tests/unit/test_cautious.py",
    ),
    "shortage": Break(
        "a want of descriptors is no verdict on a file", "shortage.py",
        "    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT}",
        "    set[int]()",
        "tests/unit/test_shortage.py " + A + "test_worker_limits.py",
    ),
    "noted": Break(
        "a row that kills its worker is named, read or not", "located.py",
        "            self._note(index)\n            try:", "            try:",
        A + "test_worker_limits.py",
    ),
    "compiled": Break(
        "a resolver is judged before it is run", "resolver.py",
        "        if os.path.exists(source):\n            refuse_foreign_file(source)",
        "        pass",
        "tests/unit/test_trust.py",
    ),
    "replaced": Break(
        "a configuration is read from what was judged", "config.py",
        'with open(open_own_file(path), "rb") as file:',
        'os.close(open_own_file(path))\n        with open(path, "rb") as file:',
        "tests/unit/test_trust.py",
    ),
    "device": Break(
        "the number of the device is no fact of a file", "verdicts.py",
        "return (mtime_ns, ctime_ns, inode) == (known.mtime_ns, known.ctime_ns, known.inode)",
        "return STAMPS.unpack(stamps_of(facts)) == known[1:5]",
        A + "test_precheck.py::test_the_number_of_the_device_is_no_fact_of_a_file",
    ),
    "wide": Break(
        "both readers agree on any time", "verdicts.py",
        "return max(-BIGINT_MAX, min(time_ns, BIGINT_MAX))",
        "return max(-(2**63), min(time_ns, BIGINT_MAX))",
        "tests/unit/test_hostile_stamps.py",
    ),
    "mapped": Break(
        "a writer through a mapping is not called rot without a doubt", "drift.py",
        "    if seconds >= MAPPED_S:", "    if seconds >= 0:",
        A + "test_scrub.py::test_a_writer_through_a_mapping_is_not_called_rot_without_a_doubt "
        "tests/unit/test_drift.py",
    ),
    "confirm": Break(
        "a drift is confirmed by a second read", "alone.py",
        "agreed = sha256 == seen[-1]", "agreed = True",
        A + "test_failing_reads.py tests/unit/test_reading.py tests/unit/test_worker.py",
    ),
    "kinds": Break(
        "only regular files are read", "files.py",
        "if not stat.S_ISREG(facts.st_mode):", "if False:",
        A + "test_hostile_files.py::test_a_zoo_in_one_run",
    ),
    "deaths": Break(
        "a file that kills two workers is left out", "supply.py",
        "DEATHS_A_FILE = 2", "DEATHS_A_FILE = 1_000_000",
        "tests/unit/test_supply.py",
    ),
    "inside": Break(
        "paths stay inside the roots", "files.py",
        "if not is_inside(real_path, self.roots):", "if False:",
        A + "test_hostile_files.py::test_a_zoo_in_one_run",
    ),
    "stop": Break(
        "stopping is quick", "coordinator.py",
        "await asyncio.wait([hashing], timeout=WORKERS_STOP_S)",
        "await asyncio.wait([hashing])",
        A + "test_faulty_storage.py " + A + "test_signals.py",
    ),
    "orphans": Break(
        "a dead coordinator takes its children along", "child.py",
        "ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)", "pass",
        A + "test_crashes.py::test_a_dead_coordinator_takes_a_busy_worker_along",
    ),
    "away": Break(
        "the database may restart", "store/answers.py",
        "return connection is None or connection.closed or connection.broken", "return False",
        A + "test_crashes.py " + A + "test_database_faults.py::test_away_for_a_while",
    ),
    "hang": Break(
        "a read that hangs holds up nobody else", "pool.py",
        "                    self._leave_alone(worker)", "                    pass",
        A + "test_faulty_storage.py",
    ),
    "rot": Break(
        "the good hash of a corrupt file stays", "drift.py",
        '"scrub": frozenset({DriftKind.MODIFIED})', '"scrub": frozenset(DriftKind)',
        A + "test_scrub.py::test_exactly_what_is_wrong_is_found",
    ),
    "blessed": Break(
        "rot is told from change by size and mtime alone", "drift.py",
        'OF_CONTENT = frozenset({"size", "mtime"})',
        'OF_CONTENT = frozenset({"size", "mtime", "ctime"})',
        A + "test_rot.py " + A + "test_verdicts.py",
    ),
    "spared": Break(
        "no bad file is a copy that could be spared", "copies.py",
        'if row["is_bad"]:', "if False:",
        A + "test_listing.py::test_only_copies_that_are_there_and_were_good_can_be_spared",
    ),
    "bad": Break(
        "what was found bad is read again", "sql/catalog.sql",
        "AND ({marker} < %(cutoff)s OR {is_bad})", "AND {marker} < %(cutoff)s",
        A + "test_scrub.py::test_exactly_what_is_wrong_is_found",
    ),
    "stamps": Break(
        "a racy stamp is never trusted", "sql/catalog.sql",
        "greatest(f.mtime_ns, f.ctime_ns) >= 2000000000", "greatest(f.mtime_ns, f.ctime_ns) >= 0",
        A + "test_precheck.py::test_a_racy_stamp_is_never_trusted",
    ),
    "window": Break(
        "nothing is read outside the windows", "pace.py",
        "return self.gate is not None and self.gate.closed", "return False",
        A + "test_nights.py::test_a_week_of_nights",
    ),
    "budget": Break(
        "a budget holds", "limits.py",
        "spent_bytes + size_bytes <= budget_bytes", "True",
        A + "test_scrub.py::test_stopped_by_budget_and_time_it_goes_on_from_there",
    ),
    "rate": Break(
        "a rate is never exceeded", "limits.py",
        "begins_s = max(paid_until_s, now_s - CATCH_UP_S)", "begins_s = now_s",
        "tests/unit/test_limits.py::test_a_rate_is_never_exceeded",
    ),
    "accept": Break(
        "only what the file still has is accepted", "review.py",
        'elif read.sha256.hex() != found["new_hash"]:', "elif False:",
        A + "test_review.py::test_only_what_still_is_as_it_was_found_is_accepted",
    ),
    "compared": Break(
        "a drift is recorded against the hash that was compared", "sql/result.sql",
        "WHEN coalesce({compared_now}, l.known_hash) = i.compared THEN 'drifted'",
        "WHEN i.compared IS NOT NULL THEN 'drifted'",
        "tests/integration/test_moment_of_writing.py",
    ),
    "holds": Break(
        "what is counted as written is what the row holds", "sql/result.sql",
        "WHERE w.holds IS NOT TRUE", "WHERE false",
        A + "test_refused_writes.py",
    ),
    "afterwards": Break(
        "and what it still holds when every trigger has had its say", "store/applying.py",
        "if looks and tally.patched and not tally.refused:", "if False:",
        A + "test_refused_writes.py",
    ),
    "lost": Break(
        "a lost hash is not blessed anew", "sql/result.sql",
        "CASE WHEN {hash_text} IS NULL THEN\n    (SELECT encode(",
        "CASE WHEN false THEN\n    (SELECT encode(",
        A + "test_long_life.py::test_a_lost_hash_is_not_blessed_anew "
        "tests/integration/test_moment_of_writing.py",
    ),
    "namesake": Break(
        "an id that is given again is another row", "sql/result.sql",
        "       AND f.path_hash = hashtextextended(a.{path}::text COLLATE \"C\", 0)) END", ") END",
        "tests/integration/test_moment_of_writing.py",
    ),
    "tie": Break(
        "a pre-check believes only what is known of the hash that is stored", "sql/catalog.sql",
        "      AND encode(f.sha256, 'hex') = {digest}\n", "",
        A + "test_precheck.py::test_what_a_backfill_saw_serves_a_later_precheck",
    ),
    "untold": Break(
        "a drift that a crash left untold is told", "survey.py",
        "await seat.ledger.call(driftlog.tell, [run_id], holder_id)", "pass",
        A + "test_long_life.py",
    ),
    "news": Break(
        "what is only confirmed leaves no row", "store/applying.py",
        "    if target.is_scrub:\n        known_times", "    if False:\n        known_times",
        A + "test_long_life.py",
    ),
    "listed": Break(
        "no row of a scrub is planned twice", "sql/catalog.sql",
        "AND counted.row_id IS NULL\n\n-- name: plan_scrub", "\n-- name: plan_scrub",
        "tests/integration/test_plans.py",
    ),
    "secrets": Break(
        "workers get no password", "child.py",
        '_SECRET_PREFIXES = ("PG", "FASTHASH_DSN")', '_SECRET_PREFIXES = ("NONE",)',
        A + "test_security.py",
    ),
    "whole": Break(
        "a metrics file is always whole", "exporter.py",
        "os.replace(beside, self.path)", 'open(self.path, "wb").write(content)',
        A + "test_metrics.py::test_the_file_is_whole_whenever_it_is_read",
    ),
    "monotone": Break(
        "counters never fall", "exposition.py",
        "max(value, known.get(labels, 0.0))", "value",
        "tests/unit/test_exposition.py",
    ),
    "group": Break(
        "a run leaves what the metrics file says of scrubs", "exporter.py",
        "group != self.told.common and None not in group", "False",
        A + "test_metrics.py::test_a_run_and_a_scrub_share_a_file",
    ),
    "lines": Break(
        "JSON lines of several processes do not mix", "logs.py",
        "JSON_LINE_BYTES = 4096", "JSON_LINE_BYTES = 40960",
        A + "test_log_lines.py::test_lines_stay_whole_whatever_dies",
    ),
    "taken": Break(
        "prune drops no entry that the ledger has not taken over", "sql/prune.sql",
        "      AND (SELECT f.at >= j.at\n           FROM fasthash.file_state f\n"
        "           WHERE f.row_id = j.row_id AND f.catalog_no = %(catalog_no)s)\n", "",
        A + "test_prune.py::test_what_the_ledger_has_not_taken_over_stays",
    ),
    "values": Break(
        "every value that a row had is kept for ever", "sql/prune.sql",
        "AND j.new_sha256 = j.old_sha256\n", "",
        A + "test_prune.py::test_only_what_merely_confirms_goes",
    ),
    "first": Break(
        "the first entry of a row is kept for ever", "sql/prune.sql",
        "AND (j.old_keys ->> 'file_sha256_computed_at') COLLATE \"C\" >= %(first_marker)s\n", "",
        A + "test_prune.py::test_the_first_to_tell_of_a_row_stays",
    ),
    "undone": Break(
        "a run whose journal was pruned is not undone", "sql/prune.sql",
        "WHERE r.run_id = c.run_id AND r.pruned_at IS NULL", "WHERE false",
        A + "test_prune.py::test_kept_runs_are_undone_exactly_and_others_not_at_all",
    ),
    "undoing": Break(
        "a run that is being undone is not pruned", "store/pruning.py",
        'left = set(values["run_ids"]) - {row["run_id"] for row in undone}',
        'left = set(values["run_ids"])',
        "tests/integration/test_pruning.py",
    ),
    "keep": Break(
        "the last complete run of each kind is kept whole", "retention.py",
        "(Reason.LAST_COMPLETE, run.run_id in last)", "(Reason.LAST_COMPLETE, False)",
        "tests/unit/test_retention.py",
    ),
    "once": Break(
        "a report takes no longer for want of statistics", "sql/facts.sql",
        "whole AS MATERIALIZED (", "whole AS (",
        "tests/integration/test_plans.py::test_the_speed_of_a_run_is_added_up_once",
    ),
    "unlisted": Break(
        "a list that was pruned is no all-clear", "store/reports.py",
        "return max(0, total.no_file + total.failed - listed)", "return 0",
        A + "test_prune.py::test_lists_that_were_dropped_are_no_all_clear",
    ),
    "early_end": Break(
        "a run goes on while somebody works on it", "sql/lease.sql",
        "OR h.seen_at BETWEEN clock_timestamp() - make_interval(secs => %(grace_s)s)",
        "OR false AND h.seen_at BETWEEN clock_timestamp() - make_interval(secs => %(grace_s)s)",
        "tests/integration/test_life_of_a_run.py",
    ),
    "turns": Break(
        "joining and leaving take turns", "sql/lease.sql",
        "SELECT pg_advisory_xact_lock(1178686569, (%(run_id)s::bigint %% 2147483647)::integer)",
        "SELECT %(run_id)s",
        "tests/integration/test_life_of_a_run.py",
    ),
    "left": Break(
        "the last who leaves a run interrupts it", "store/runs.py",
        'connection.execute(query("lease", "note_left"), {"holder_id": holder_id})', "pass",
        "tests/integration/test_life_of_a_run.py",
    ),
    "kept": Break(
        "whoever works on a run keeps it running", "heartbeat.py",
        'if seen.state in ("interrupted", "failed") and', "if False and",
        A + "test_end_of_a_run.py::test_a_run_that_somebody_marked_as_ended_goes_on",
    ),
    "given_up": Break(
        "a run that was given up is no success", "heartbeat.py",
        "if seen.superseded:", "if False:",
        A + "test_end_of_a_run.py::test_a_run_that_was_given_up_is_no_success",
    ),
    "open": Break(
        "the exit status follows the run's state", "coordinator.py",
        'left_open = summary.state != "complete" and', "left_open = False and",
        A + "test_end_of_a_run.py::test_the_status_follows_the_state",
    ),
    "clock": Break(
        "the server's clock takes no lease away", "sql/lease.sql",
        "OR (c.holder_id <> %(holder_id)s AND c.holder_id <> ALL",
        "OR c.expires_at < clock_timestamp() OR (c.holder_id <> ALL",
        "tests/integration/test_life_of_a_run.py",
    ),
    "silence": Break(
        "what a silent coordinator holds becomes free", "lease.py",
        "if now_s - since_s >= ttl_s}", "if False}",
        "tests/integration/test_life_of_a_run.py tests/unit/test_lease.py",
    ),
    "future": Break(
        "a sign of life of the future is none", "sql/lease.sql",
        "AND clock_timestamp() + make_interval(secs => %(grace_s)s))",
        "AND 'infinity')",
        "tests/integration/test_life_of_a_run.py",
    ),
    "disk": Break(
        "a run is on the disk before it is worked on", "store/transactions.py",
        'connection.execute("SET LOCAL synchronous_commit = on")', "pass",
        "tests/integration/test_life_of_a_run.py::test_a_run_is_on_the_disk_before_it_is_worked_on",
    ),
    "stuck": Break(
        "a stuck statement is done again", "store/session.py",
        "is_stuck(error) or ", "",
        "tests/integration/test_life_of_a_run.py::test_a_stuck_statement_ends_and_is_done_again",
    ),
    "defect": Break(
        "a defect has no status of the catalog's", "errors.py",
        "INTERNAL_ERROR_STATUS = 70", "INTERNAL_ERROR_STATUS = 1",
        A + "test_end_of_a_run.py::test_no_error_has_a_status_that_says_something_of_the_catalog",
    ),
    "at_end": Break(
        "a defect at the end is no slow database", "coordinator.py",
        "if leaving.done():", "if leaving.done() and not leaving.exception():",
        A + "test_end_of_a_run.py::test_a_defect_at_the_end_is_no_slow_database",
    ),
    "newer": Break(
        "init leaves a newer ledger alone", "store/schema.py",
        "        _refuse_newer(found)\n", "",
        A + "test_end_of_a_run.py::test_a_newer_ledger_is_left_alone",
    ),
    "upgrade": Break(
        "runs of every earlier version go on", "seat.py",
        'None if run["cutoff"] is None else marker_text', "marker_text",
        A + "test_upgrade.py",
    ),
    "rates": Break(
        "the file of a live run's rates stays", "gate.py",
        "if _holds(descriptor, fcntl.LOCK_EX) and _is_at", "if _is_at",
        "tests/unit/test_limits.py",
    ),
    "same_rate": Break(
        "all of a run on a host keep one rate", "gate.py",
        "if _holds(descriptor, fcntl.LOCK_SH) and _is_at(descriptor, path):",
        "if _holds(descriptor, fcntl.LOCK_SH):",
        "tests/unit/test_limits.py",
    ),
    "rubbish": Break(
        "killed runs leave no files for good", "gate.py",
        "                _sweep(folder)\n", "",
        "tests/unit/test_limits.py",
    ),
    "log": Break(
        "a log line that cannot be written ends nothing", "streams.py",
        "            return memoryview(data).nbytes", "            raise",
        A + "test_output.py::test_a_log_that_nobody_gets_ends_nothing",
    ),
    "result": Break(
        "a result that cannot be written is no success", "cli/__init__.py",
        "if status in (0, 1) and lost is not None", "if status > 1 and lost is not None",
        A + "test_output.py::test_a_full_disk_is_one_line",
    ),
    "alike": Break(
        "no row is given another one's hash", "sql/result.sql",
        "SELECT 0, 'judged', count(*), 0, NULL\nFROM judged j",
        "SELECT 0, 'judged', (SELECT count(*) FROM input), 0, NULL\nFROM judged j LIMIT 1",
        "tests/integration/test_wild_rows.py::test_an_id_that_another_table_takes_while_its_file_is"
        "_read",
    ),
    "given": Break(
        "one row that cannot be read stops nothing", "store/guard.py",
        "if catalog.is_guarded or not is_of_values(error):", "if True:",
        "tests/integration/test_wild_rows.py::test_json_that_is_no_text",
    ),
    "time": Break(
        "a marker counts only if it is a time", "sql/row.sql",
        "{marker_text} LIKE '____-__-__T__:__:__.______Z' AND", "{marker_text} IS NOT NULL OR",
        "tests/integration/test_wild_rows.py::test_only_times_are_markers",
    ),
    "equality": Break(
        "keys are compared in their column's own order", "store/catalog.py",
        'return cast + sql.SQL(" COLLATE ") + identifier(*collation) if collation else cast',
        "return cast", "tests/integration/test_equality.py::test_rows_that_come_again_in_a_scrub",
    ),
    "bytes": Break(
        "a path is the same only to the byte", "sql/result.sql",
        'a.{path}::text COLLATE "C" AS path_now', "a.{path}::text AS path_now",
        "tests/integration/test_equality.py::test_a_path_is_the_same_only_to_the_byte",
    ),
    "all": Break(
        "a refusal of all is not one of each", "batches.py",
        "                raise DatabaseRefused(refusal(also)) from also\n",
        "                pass\n",
        "tests/integration/test_refusals.py::test_what_is_taken_away_in_the_middle",
    ),
    "own": Break(
        "one row's trigger is not an absence", "batches.py",
        "            raise _Fault(error) from error\n", "            raise\n",
        "tests/integration/test_refusals.py::test_a_row_s_own_error_is_its_own_whatever_it_says",
    ),
    "local": Break(
        "no setting stays in a pooler's session", "sql/session.sql",
        "SET LOCAL synchronous_commit = off", "SET synchronous_commit = off",
        A + "test_pooler.py",
    ),
    "empty": Break(
        "an empty mount is no catalog of missing files", "evidence.py",
        "any(look.is_there is not False for look in looks)", "True",
        A + "test_wrong_roots.py::test_not_one_file",
    ),
    "unmounted": Break(
        "a host with other files does not join", "evidence.py",
        "if not found or len(compared) - len(found) >= LEAST_SAME * len(compared):", "if True:",
        A + "test_wrong_roots.py::test_another_host_with_another_disk_does_not_join",
    ),
    "part": Break(
        "a scrub of a part gives no all-clear", "summary.py",
        "total.no_file + self._known_bad", "total.no_file",
        A + "test_runs.py::test_a_scrub_of_a_part_gives_no_all_clear",
    ),
    "pause": Break(
        "a limit completes no run with rows left", "store/planning.py",
        'self.plan["plan_done"] = not self.plan["may_pause"]', 'self.plan["plan_done"] = True',
        A + "test_resume.py::test_a_limit_completes_no_run_that_was_begun_without",
    ),
    "session": Break(
        "a run has a session of its own", "store/pooling.py",
        "if _pid(second) == mine or _pid(connection) != mine:", "if False:",
        A + "test_pooler.py",
    ),
}  # fmt: skip


def notices(name: str, broken: Break, folder: Path) -> bool:
    """Whether a test fails once the promise is broken."""
    file = folder / "fasthash" / broken.file
    text = file.read_text()
    assert text.count(broken.before) == 1, f"{name}: there is no such text any more"
    file.write_text(text.replace(broken.before, broken.after))
    try:
        done = subprocess.run(
            [folder / ".venv/bin/python", "-m", "pytest", "-qx", "-n4", "--timeout=60",
             "-p", "no:cacheprovider", *broken.tests.split()],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        file.write_text(text)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    first = failed[0].split(" - ")[0] if failed else "NO TEST FAILED"
    print(f"{name:9}  {broken.promise}: {first}", flush=True)
    return bool(failed)


def main() -> None:
    """Every break, or those named."""
    names = sys.argv[1:] or list(BREAKS)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "copy"
        keep = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__")
        shutil.copytree(PROJECT, folder, ignore=keep)
        subprocess.run(["make", "-s", ".venv/.ready"], cwd=folder, check=True)
        missed = [name for name in names if not notices(name, BREAKS[name], folder)]
    if missed:
        sys.exit(f"nobody noticed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
