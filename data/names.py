"""Names from a file system: as text that any page can show, and which of them belong to a system, not to a user."""
import os
import unicodedata

SYSTEM = {"__macosx", "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "$recycle.bin",
          "system volume information", "network trash folder", "temporary items", "lost+found", "__pycache__",
          "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"}


def shown(name):
    """A name or path as printable text: UTF-8 whatever the locale, other bytes and control characters escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def path_to_text(path):
    """A path as text for a file, the same in every locale; `text_to_path` gives the path back."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def text_to_path(text):
    """The path that `path_to_text` made this text of, as this locale spells it."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def class_name(name):
    """What a folder's class is called: `shown`, composed, so that both Unicode forms of a letter are one name."""
    return unicodedata.normalize("NFC", shown(name))


def is_system(name):
    """Whether a file or folder was left by an operating system or a tool: hidden ones, and the names in SYSTEM."""
    name = os.path.basename(name)
    return name.startswith(".") or name.lower() in SYSTEM
