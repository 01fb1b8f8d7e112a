"""The errors that a user sees as one line, without a traceback."""


class CompLeakError(Exception):
    """Something the user can mend: the message names the value, what is allowed and what mends it. Exit code 1."""

    exit_code = 1


class UsageError(CompLeakError):
    """A command line that cannot be carried out as it stands. Exit code 2."""

    exit_code = 2
