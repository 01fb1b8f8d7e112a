"""The errors that a user sees as one line, without a traceback."""


class CompLeakError(Exception):
    """Something the user can mend: the message names the value, what is allowed and what mends it. Exit code 1."""

    exit_code = 1


class UsageError(CompLeakError):
    """A command line that cannot be carried out as it stands. Exit code 2."""

    exit_code = 2


class FileError(CompLeakError):
    """A file that cannot be used. Whoever knows which command makes it sets `command`, and the message says so.

    problem: what is wrong, after the path; first: what comes before running the command, such as "delete it and ".
    """

    def __init__(self, path, problem, first=""):
        super().__init__(path, problem)
        self.path, self.problem, self.first, self.command = path, problem, first, None

    @classmethod
    def missing(cls, path):
        return cls(path, "is missing")

    @classmethod
    def damaged(cls, path, why):
        """A file that was changed, cut short, or is none of this project's; why: a few words."""
        return cls(path, f"is damaged ({str(why).splitlines()[0][:120] if str(why) else type(why).__name__})",
                   "delete it and ")

    def __str__(self):
        return f"{self.path} {self.problem}" + (f": {self.first}run {self.command}" if self.command else "")
