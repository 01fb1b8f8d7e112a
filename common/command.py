"""What every command shares: flags, the choice of device, and errors as one line."""
import argparse
import signal
import sys

from tqdm import tqdm

from common.errors import CompLeakError


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, exit code 2."""

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
    """Run a command's main; known errors become one line on stderr and an exit code, never a traceback."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        main(argv)
        code = 0
    except CompLeakError as error:
        code = _say(f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):  # a second one must not cut the message short
            signal.signal(number, signal.SIG_IGN)
        code = _say("\nstopped; the same command goes on from here", 130)
    except MemoryError as error:
        code = _say(f"error: not enough memory ({error}): choose a smaller --image_size or --batch_size", 1)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        code = _say(f"error: {error.filename or 'a file'}: {error.strerror}: check the folder's permissions and free "
                    "space, or choose another --run_dir", 1)
    sys.exit(code)


def _say(line, code):
    """Print a last line on stderr, below progress bars that were cut short; gives the exit code back."""
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()
    print(line, file=sys.stderr)
    return code


def _stop(signum, frame):
    raise KeyboardInterrupt
