"""Standard output and error that nothing stops: a reader that has left, a full disk, an encoding without a letter."""
import errno
import os
import sys
from contextlib import contextmanager, suppress


class Lasting:
    """A text stream whose writing never raises OSError: the first one is kept in `failed`, and the rest is dropped."""

    def __init__(self, stream):
        self._stream, self.failed = stream, None

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        """Number of characters, as of any stream; a name's bytes that are not UTF-8 are escaped."""
        readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        self._try(lambda: self._stream.write(readable))
        return len(text)

    def flush(self):
        """Hand on what was written."""
        self._try(self._stream.flush)

    def _try(self, call):
        try:
            call()
        except OSError as error:
            self.failed = self.failed or error
            # What is buffered would raise again at every write, and at the interpreter's end.
            with suppress(OSError, ValueError, AttributeError):
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, self._stream.fileno())
                os.close(nothing)

    @property
    def left(self):
        """Whether the reader of a pipe has ended, as `head` does when it has its lines."""
        return self.failed is not None and self.failed.errno == errno.EPIPE


@contextmanager
def lasting():
    """Gives sys.stdout and sys.stderr as Lasting streams for a while; letters that their encoding lacks are escaped."""
    before = sys.stdout, sys.stderr
    for stream in before:
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = given = Lasting(before[0]), Lasting(before[1])
    try:
        yield given
    finally:
        for stream in given:
            stream.flush()
        sys.stdout, sys.stderr = before
