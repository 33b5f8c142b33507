"""The error that a person can act on."""


class UserError(Exception):
    """What happened, where, and what to do, in one message: shown without a traceback.

    For everything that is wrong with a person's input, files, settings or machine. What is wrong
    with the program itself is any other exception, and keeps its traceback.
    """
