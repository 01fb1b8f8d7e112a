"""What every command shares: flags, the choice of device, and errors as one line."""
import argparse
import errno
import os
import signal
import sys
from pathlib import Path

from tqdm import tqdm

from common.errors import CompLeakError
from common.streams import lasting

ADVICE = {errno.ENOSPC: "free some space, or choose another --run_dir",
          errno.EDQUOT: "free some space, or choose another --run_dir",
          errno.EROFS: "nothing can be written there, so name a folder of yours with --run_dir",
          errno.EACCES: "check the folder's permissions, or choose another --run_dir",
          errno.EPERM: "check the folder's permissions, or choose another --run_dir",
          errno.ENAMETOOLONG: "choose a shorter --run_dir",
          errno.ENOTDIR: "a part of this path is a file, so choose another --run_dir"}
SIGPIPE_CODE = 128 + signal.SIGPIPE  # what a shell shows of a command whose reader had enough


class Help(argparse.HelpFormatter):
    """Help that says each default once: in the flag's own words, or after them where there is a value to show.

    A text of several lines is shown as it stands.
    """

    def _get_help_string(self, action):
        text = action.help or ""
        unsaid = "(default" not in text and action.option_strings and action.default is not argparse.SUPPRESS
        return f"{text} (default: %(default)s)" if unsaid and action.default not in (None, False) else text


    def _fill_text(self, text, width, indent):
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, exit code 2; flags are written out."""

    def __init__(self, **words):
        super().__init__(**{"formatter_class": Help, "allow_abbrev": False, **words})

    def error(self, message):
        self.exit(2, f"error: {message} (see --help)\n")


def positive(kind, least=0):
    """An argument type: a finite int or float above zero, and at least `least`."""

    def read(text):
        value = kind(text)
        if not 0 < value < float("inf") or value < least:
            raise argparse.ArgumentTypeError(f"{text}: choose " + (f"{least} or more" if least else "a number above 0"))
        return value

    read.__name__ = kind.__name__
    return read


def run(main, argv=None):
    """Run a command's main; known errors become one line on stderr and an exit code, never a traceback.

    What is printed stops nothing: a closed pipe ends in exit code 141 without a word, a full standard output in one
    line, both when the work is done.
    """
    signal.signal(signal.SIGTERM, _stop)
    with lasting() as (out, err):
        code = _code(main, argv)
        out.flush()
        if out.failed and not out.left and not code:
            code = _say(f"error: standard output: {out.failed.strerror}: what was printed is lost, files are written",
                        1)
        if (out.left or err.left) and not code:
            code = SIGPIPE_CODE
    sys.exit(code)


def _code(main, argv):
    """The exit code of a command's main."""
    try:
        main(argv)
        return 0
    except SystemExit as stop:  # of --help, or of flags that argparse refuses
        return stop.code
    except CompLeakError as error:
        return _say(f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):  # a second one must not cut the message short
            signal.signal(number, signal.SIG_IGN)
        return _say("\nstopped; the same command goes on from here", 130)
    except MemoryError as error:
        return _say(f"error: not enough memory ({error}): choose a smaller --image_size or --batch_size", 1)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        return _say(f"error: {_told(error)}", 1)


def _told(error):
    """An OSError in words, with advice where there is some that helps."""
    if error.filename is None:
        place = "a file that the system does not name"
    else:
        place = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else str(error.filename)
        for part in (Path(place), *Path(place).parents):  # os.path: Path raises where one may not look
            if os.path.islink(part) and not os.path.exists(part):
                return f"{part} is a link to {os.readlink(part)}, which is not there: mend the link or remove it"
    advice = ADVICE.get(error.errno)
    return f"{place}: {error.strerror}" + (f": {advice}" if advice else "")


def say_errors_in_notebook():
    """In a notebook: a known error is one line on stderr, not a traceback; it ends *Run All Cells* as any does."""
    from IPython import get_ipython  # a notebook's own, so it is there

    def say(shell, kind, error, trace, tb_offset=None):
        _say(f"error: {error}", 1)

    get_ipython().set_custom_exc((CompLeakError,), say)


def _say(line, code):
    """Print a last line on stderr, below progress bars that were cut short; gives the exit code back."""
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()
    print(line, file=sys.stderr)
    return code


def _stop(signum, frame):
    raise KeyboardInterrupt
