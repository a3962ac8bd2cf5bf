"""The errors that end a command: each class has its message as docstring and its exit status."""

from __future__ import annotations

# Of a defect in fasthash itself, as in sysexits.h: no status that says anything about the catalog.
INTERNAL_ERROR_STATUS = 70


class FasthashError(Exception):
    """Something went wrong."""

    exit_status = INTERNAL_ERROR_STATUS

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__ or "")


class ConfigError(FasthashError):
    """A flag, environment variable or configuration key is not usable."""

    exit_status = 2


class OtherRunUnfinished(ConfigError):
    """An unfinished run with other options stands in the way; `command` would go on with it."""

    def __init__(self, message: str, command: str) -> None:
        super().__init__(message)
        self.command = command


class ResultLost(FasthashError):
    """Standard output does not take what it should: the result is not complete."""

    exit_status = 2

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to standard output: {error.strerror}")


class PreflightFailed(FasthashError):
    """A check before the start failed; nothing was begun."""

    exit_status = 4


class NotInitialized(PreflightFailed):
    """The ledger schema is missing or old: run `fasthash init` first."""


class LedgerPublished(PreflightFailed):
    """The ledger's tables would be sent to subscribers; nothing was changed."""


class DatabaseUnreachable(PreflightFailed):
    """The database cannot be reached; nothing was begun."""


class DatabaseLost(FasthashError):
    """The database stayed away past --db-timeout; everything committed so far is kept."""

    exit_status = 3


class DatabaseRefused(FasthashError):
    """The database answered, and will not do what a run needs; what is committed is kept."""

    exit_status = 3


class WorkersFailed(FasthashError):
    """The helper processes do not stay up; everything committed so far is kept."""

    exit_status = 3


class RunGivenUp(FasthashError):
    """The run was ended by others for good; everything committed so far is kept."""

    exit_status = 3


class RunLeftOpen(FasthashError):
    """The run is not at its end; everything committed so far is kept."""

    exit_status = 3


class OutOfResources(FasthashError):
    """The process or the machine has no room left to open files; what is committed is kept."""

    exit_status = 3


def first_error(group: BaseExceptionGroup[FasthashError]) -> FasthashError:
    """The first error of a group of groups, as a task group raises them."""
    for error in group.exceptions:
        return first_error(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("a group is never empty")
