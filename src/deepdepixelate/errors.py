"""Errors that a user can fix."""

import errno

_FULL_OR_FORBIDDEN = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


class UserError(Exception):
    """An error in a user's input, files, settings or machine; shown without a traceback.

    The message says what happened, where, and what to do. Any other exception is a bug.
    """


def failure_message(error: BaseException) -> str | None:
    """The message for an error that a user can fix; None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _FULL_OR_FORBIDDEN:
        place = f" ({error.filename})" if error.filename else ""
        return (
            f"{error.strerror}{place}: free disk space or correct the permissions, then run the "
            "same command again."
        )
    return None


def first_line(error: BaseException) -> str:
    """The first line of a library's error message, or the name of the error."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
