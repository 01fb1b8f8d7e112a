"""Names from a file system: as text that any page can show, and which of them belong to a system, not to a user."""
import os
import sys
import unicodedata

SYSTEM = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__",
          "thumbs.db", "desktop.ini"}


def shown(name):
    """A name or path as printable text: UTF-8 whatever the locale, other bytes and control characters escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def class_name(name):
    """What a folder's class is called: `shown`, composed, so that both Unicode forms of a letter are one name."""
    return unicodedata.normalize("NFC", shown(name))


def say(line):
    """Print a line on standard output; letters that its encoding lacks are escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding))


def is_system(name):
    """Whether a file or folder was left by an operating system or a tool: hidden ones, and the names in SYSTEM."""
    name = os.path.basename(name)
    return name.startswith(".") or name.lower() in SYSTEM
