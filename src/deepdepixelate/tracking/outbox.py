"""What a run sends to MLflow. If MLflow fails, the run goes on."""

import logging
import time
from collections.abc import Callable, Iterable

from deepdepixelate.errors import first_line
from deepdepixelate.tracking.store import knock, without_password

logger = logging.getLogger(__name__)

Ask = Callable[[], object]

_PAUSE = 20
"""Seconds between two checks of a server that is gone; each check may take as long."""

_END = "that it has ended (there it stays RUNNING)"


class Outbox:
    """Sends at once what MLflow accepts; keeps the rest and sends it when the server answers."""

    def __init__(self) -> None:
        self._waiting: dict[str, Ask] = {}
        self._reason = ""
        self._gone = False
        self._knocked = 0.0

    def send(self, what: str, ask: Ask) -> None:
        """Ask MLflow for something, now or later.

        Args:
            what: names it in the warning at the end; the same that waits already is replaced.
            ask: is called now, and again later if it fails. Any error counts: the stores behind
                MLflow raise errors of their own.
        """
        self._waiting[what] = ask
        if not self._gone:
            self._try([what])
        elif time.monotonic() - self._knocked > _PAUSE:
            self._try_all()

    def conclude(self, run_id: str, end: Ask | None = None) -> None:
        """Send what is waiting, end the run, and say what is lost.

        Args:
            run_id: the run.
            end: ends the run. It is called even where the server is gone: this process, too, must
                know that the run has ended.
        """
        self._try_all()
        if end is not None:
            self._gone = False
            self.send(_END, end)
        if self._waiting:
            logger.warning(
                "MLflow (%s) did not take everything of run %s: %s. Lost from its record are %s; "
                "and system metrics. The run went on without it, and its files are in data/. To "
                "add one there: mlflow artifacts log-artifact --run-id %s --local-file FILE",
                _address(),
                run_id,
                self._reason,
                "; ".join(self._waiting),
                run_id,
            )
        self._waiting, self._reason, self._gone = {}, "", False

    def _try_all(self) -> None:
        if self._gone:
            self._gone = self._silence() is not None
        self._try(list(self._waiting))

    def _try(self, names: Iterable[str]) -> None:
        for what in names:
            if self._gone:
                return
            try:
                self._waiting[what]()
            except Exception as error:
                logger.debug("MLflow did not take %s", what, exc_info=True)
                self._note(error)
            else:
                self._waiting.pop(what, None)
        if self._reason and not self._waiting:
            logger.info("MLflow answers again: what was kept for it was sent.")
            self._reason = ""

    def _note(self, error: Exception) -> None:
        is_first = not self._reason
        silence = self._silence()
        self._gone = silence is not None
        self._reason = (
            f"it does not answer ({silence})" if silence else without_password(first_line(error))
        )
        if is_first:
            logger.info(
                "MLflow (%s) does not take everything: %s. The run goes on, and what is kept for "
                "MLflow is sent later.",
                _address(),
                self._reason,
            )

    def _silence(self) -> str | None:
        import mlflow

        silence = knock(mlflow.get_tracking_uri())
        self._knocked = time.monotonic()
        return silence


def _address() -> str:
    import mlflow

    return without_password(mlflow.get_tracking_uri())


OUTBOX = Outbox()
"""One a process, as is MLflow's active run."""
