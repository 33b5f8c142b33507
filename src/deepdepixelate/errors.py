"""The error that a user can act on."""

import errno

_FULL_OR_FORBIDDEN = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


class UserError(Exception):
    """What happened, where, and what to do, in one message: shown without a traceback.

    For everything that is wrong with a user's input, files, settings or machine. What is wrong
    with the program itself is any other exception, and keeps its traceback.
    """


def explained(error: BaseException) -> str | None:
    """The message for an error that a user can fix; None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _FULL_OR_FORBIDDEN:
        place = f" ({error.filename})" if error.filename else ""
        return (
            f"{error.strerror}{place}: make room or mend the permissions, then run the same "
            "command again."
        )
    return None


def first_line(error: BaseException) -> str:
    """What an error of somebody else's code says, short enough to pass on."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
