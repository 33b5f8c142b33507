"""The error that a person can act on."""


class UserError(Exception):
    """What happened, where, and what to do, in one message: shown without a traceback.

    For everything that is wrong with a person's input, files, settings or machine. What is wrong
    with the program itself is any other exception, and keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    """What an error of somebody else's code says, short enough to pass on."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
