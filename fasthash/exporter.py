"""Metrics to whoever watches: by HTTP while a run goes on, and in a file for node_exporter."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from fasthash import cautious, exposition, logs
from fasthash.errors import ConfigError
from fasthash.exposition import COMMON, LASTING, METRICS, Exposition, How
from fasthash.summary import RunSummary

log = logging.getLogger("fasthash")

WRITE_EVERY_S = 15.0
# A file system that hangs does not keep a run from ending.
LAST_WRITE_S = 3.0
# Others that share the file write it in milliseconds.
LOCK_S = 1.0
# Anybody may read it: node_exporter is another user.
FILE_MODE = 0o644

Families = dict[str, list[Sample]]


class Exporter(Exposition):
    """Tells what a run does.

    Args:
        catalog: as configured.
        kind: of the run.
        listen: address and port to serve at, port 0 for any that is free; or None.
        path: the file to keep written, or None.
        has_to_listen: a port that is taken is an error; else a warning, for another run on the host
            may have the same configuration.

    Raises:
        ConfigError: the port is taken, or the file cannot be written.
    """

    def __init__(
        self,
        catalog: str,
        kind: str,
        listen: tuple[str, int] | None,
        path: str | None,
        *,
        has_to_listen: bool = True,
    ) -> None:
        super().__init__(catalog, kind)
        self._file = None if path is None else TextFile(path, self)
        if listen is None:
            return
        try:
            _serve(self, *listen)
        except ConfigError as error:
            if has_to_listen:
                raise
            event = logs.event("metrics_not_served", address=listen[0], port=listen[1])
            log.warning("%s; going on without", error, extra=event)

    def opened(self, run_id: int, how: str, started_at: datetime) -> None:
        """See `Metrics`."""
        super().opened(run_id, how, started_at)
        if self._file is not None:
            self._file.start()

    def ended(self, how: How, exit_status: int, summary: RunSummary | None) -> None:
        """See `Exposition`; the file is written for the last time."""
        super().ended(how, exit_status, summary)
        if self._file is not None:
            self._file.end()


class _Families(Collector):
    """The samples as the library's families.

    Args:
        told: what is exposed.
        others: samples of other catalogs and kinds, by family.
    """

    def __init__(self, told: Exposition, others: Families | None = None) -> None:
        self.told = told
        self.others = others or {}

    def collect(self) -> Iterator[Metric]:
        """Each metric that has a sample."""
        values = self.told.samples()
        for metric in METRICS:
            name = metric.name.removesuffix("_total")
            family = Metric(name, metric.help, metric.type)
            if metric.type == "histogram":
                family = self._seconds(metric)
            for labels, value in values.get(metric.name, {}).items():
                pairs = zip((*COMMON, *metric.labels), (*self.told.common, *labels), strict=True)
                family.add_sample(metric.name, dict(pairs), value)
            family.samples += self.others.get(name, [])
            if family.samples:
                yield family

    def _seconds(self, metric: exposition.Metric) -> Metric:
        family = HistogramMetricFamily(metric.name, metric.help, labels=COMMON)
        seconds = self.told.seconds
        family.add_metric(self.told.common, list(seconds.buckets()), seconds.sum_s)
        return family


def _registry(told: Exposition, others: Families | None = None) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Families(told, others))
    return registry


def _serve(told: Exposition, address: str, port: int) -> None:
    try:
        server, _ = start_http_server(port, address, _registry(told))
    except (OSError, OverflowError, UnicodeError) as error:  # the last: of an address, to IDNA
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"cannot serve metrics on {address}:{port} (--metrics-port): {reason}"
        ) from error
    port = server.server_port
    shown = f"[{address}]" if ":" in address else address
    log.info(
        "metrics at http://%s:%d/metrics",
        shown,
        port,
        extra=logs.event("metrics_served", address=address, port=port),
    )


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Of those that share a file in the folder, one at a time: it is read and written anew.

    Where locks cannot be had, or somebody keeps one for long, it is not waited for.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until_s = time.monotonic() + LOCK_S
        while time.monotonic() < until_s:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break
            else:
                break
        yield
    finally:
        os.close(descriptor)


class TextFile:
    """A file that is always whole: written anew beside itself, and renamed.

    What it says of other catalogs and kinds stays, so that a run and a scrub may share one.

    Raises:
        ConfigError: it cannot be written.
    """

    def __init__(self, path: str, told: Exposition) -> None:
        self.path = os.path.abspath(path)
        self.told = told
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed = False
        self._check()
        self._read(keep=True)

    def start(self) -> None:
        """Writes it again and again, in a thread of its own."""
        self._thread = threading.Thread(target=self._keep_written, name="metrics", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Writes it for the last time."""
        self._over.set()
        if self._thread is None:
            self.start()
        if self._thread is not None:
            self._thread.join(LAST_WRITE_S)

    def _keep_written(self) -> None:
        over = False
        while not over:
            over = self._over.is_set()  # asked before: the last write says how it ended
            self._try_to_write()
            if not over:
                self._over.wait(WRITE_EVERY_S)

    def _check(self) -> None:
        what = f"--metrics-file {self.path}"
        if not self.path.endswith(".prom"):
            raise ConfigError(f"{what}: the name has to end in .prom, or node_exporter ignores it")
        if os.path.isdir(self.path):
            raise ConfigError(f"{what}: it is a directory")
        try:
            self._put(b"", replace=False)
        except OSError as error:
            raise ConfigError(f"{what}: cannot write in its directory: {error.strerror}") from error

    def _try_to_write(self) -> None:
        """Writes it; what fails is said once, and tried again the next time."""
        try:
            with _alone(os.path.dirname(self.path)):
                self._put(generate_latest(_registry(self.told, self._read())), replace=True)
        except OSError as error:
            if not self._failed:
                log.warning(
                    "cannot write %s: %s; trying again",
                    self.path,
                    error.strerror,
                    extra=logs.event("metrics_not_written", path=self.path, reason=error.strerror),
                )
            self._failed = True
            return
        if self._failed:
            log.info(
                "%s is written again",
                self.path,
                extra=logs.event("metrics_written", path=self.path),
            )
        self._failed = False

    def _put(self, content: bytes, *, replace: bool) -> None:
        folder, name = os.path.split(self.path)
        beside = os.path.join(folder, f".{name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)  # of a process that was killed and had our number
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(beside, flags, FILE_MODE), "wb") as file:
                os.fchmod(file.fileno(), FILE_MODE)
                file.write(content)
            if replace:
                os.replace(beside, self.path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)

    def _read(self, *, keep: bool = False) -> Families:
        """The samples of other catalogs and kinds, by family.

        Args:
            keep: take over what the file says of our own that lasts.
        """
        others: Families = defaultdict(list)
        try:
            seen, _ = cautious.open_seen(self.path, os.O_RDONLY, cautious.refuse_special)
            with open(seen, encoding="utf-8") as file:
                families = list(text_string_to_metric_families(file.read()))
        except Exception:
            return others  # there is none, or it is no such file: the parser raises all sorts
        for family in families:
            for sample in family.samples:
                group = tuple(sample.labels.get(label) for label in COMMON)
                if group != self.told.common and None not in group:
                    others[family.name].append(sample)
                elif keep and group == self.told.common and sample.name in LASTING:
                    self.told.keep(sample.name, sample.value)
        return others
