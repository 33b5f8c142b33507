"""A queue of requests to MLflow, so that a run continues if MLflow fails."""

import logging
import time
from collections.abc import Callable, Iterable

import mlflow

from deepdepixelate.errors import first_line
from deepdepixelate.tracking.store import unreachable, without_password

logger = logging.getLogger(__name__)

Request = Callable[[], object]

_PAUSE = 20
"""Least seconds between two checks of an unreachable server; a check may take as long."""

_END = "the end of the run (its status stays RUNNING)"


class Outbox:
    """Sends requests at once, keeps those that fail, and sends them again later."""

    def __init__(self) -> None:
        self._pending: dict[str, Request] = {}
        self._reason = ""
        self._is_down = False
        self._checked = 0.0

    def send(self, name: str, request: Request) -> None:
        """Send a request, now or later.

        Args:
            name: describes the request in the warning at the end; a pending one of the same name
                is replaced.
            request: is called now, and again later if it raises any exception: MLflow's stores
                raise errors of their own.
        """
        self._pending[name] = request
        if not self._is_down:
            self._try([name])
        elif time.monotonic() - self._checked > _PAUSE:
            self._try_all()

    def conclude(self, run_id: str | None, end: Request | None = None) -> None:
        """Send what is pending, end the run, and warn of what could not be sent.

        Args:
            run_id: the run.
            end: ends the run. It is called even if the server is down, because it also ends the
                run in this process.
        """
        self._try_all()
        if end is not None:
            self._is_down = False
            self.send(_END, end)
        if self._pending:
            logger.warning(
                "MLflow (%s) did not record everything of run %s: %s. Missing are %s; and system "
                "metrics. The run continued, and its files are in data/. To add one: mlflow "
                "artifacts log-artifact --run-id %s --local-file FILE",
                _address(),
                run_id,
                self._reason,
                "; ".join(self._pending),
                run_id,
            )
        self._pending, self._reason, self._is_down = {}, "", False

    def _try_all(self) -> None:
        if self._is_down:
            self._is_down = self._check() is not None
        self._try(list(self._pending))

    def _try(self, names: Iterable[str]) -> None:
        for name in names:
            if self._is_down:
                return
            try:
                self._pending[name]()
            except Exception as error:
                logger.debug("MLflow did not accept %s", name, exc_info=True)
                self._note(error)
            else:
                self._pending.pop(name, None)
        if self._reason and not self._pending:
            logger.info("MLflow answers again: everything pending was sent.")
            self._reason = ""

    def _note(self, error: Exception) -> None:
        is_first = not self._reason
        why = self._check()
        self._is_down = why is not None
        self._reason = f"it does not answer ({why})" if why else without_password(first_line(error))
        if is_first:
            logger.info(
                "MLflow (%s) fails: %s. The run continues, and its records are sent later.",
                _address(),
                self._reason,
            )

    def _check(self) -> str | None:
        why = unreachable(mlflow.get_tracking_uri())
        self._checked = time.monotonic()
        return why


def _address() -> str:
    return without_password(mlflow.get_tracking_uri())


OUTBOX = Outbox()
"""The process's only one, as MLflow's active run is."""
