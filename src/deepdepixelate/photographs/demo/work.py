"""What each browser tab wants to be done."""

from dataclasses import dataclass

from deepdepixelate.photographs.demo.zooming import Opened, Part


class Cancelled(Exception):  # noqa: N818 - no error
    """The user has cancelled the work, chosen something else, or closed the page."""


@dataclass(eq=False)
class Job:
    """What a browser tab wants.

    Attributes:
        opened: the photograph.
        part: to enlarge; None if the user has not chosen one yet.
        method: the generator, or ``auto`` for the one that suits the file.
        other: what the result is compared with.
        begun: whether the work has begun.
        over: whether it is finished or cancelled.
    """

    opened: Opened
    part: Part | None
    method: str
    other: str
    begun: bool = False
    over: bool = False

    def check(self) -> None:
        """Raise Cancelled if the job is cancelled."""
        if self.over:
            raise Cancelled


class Work:
    """The latest job of each browser tab. All other jobs are cancelled."""

    def __init__(self) -> None:
        self._jobs: dict[str | None, Job] = {}

    def want(self, tab: str | None, job: Job | None) -> None:
        """Cancel the job of a tab, and expect another; None if the tab is empty or closed."""
        self.cancel(tab)
        self._jobs.pop(tab, None)
        if job is not None:
            self._jobs[tab] = job

    def cancel(self, tab: str | None) -> None:
        """Cancel the job of a tab."""
        if job := self._jobs.get(tab):
            job.over = True

    def latest(self, tab: str | None) -> Job | None:
        """The job of a tab, finished or not."""
        return self._jobs.get(tab)

    def take(self, tab: str | None) -> Job | None:
        """The job of a tab, if there is something to do and it has not begun."""
        job = self._jobs.get(tab)
        if job is None or job.part is None or job.begun:
            return None
        job.begun = True
        return job
