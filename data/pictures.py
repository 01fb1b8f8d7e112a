"""One picture file: opened by named formats only, and turned into the 8-bit RGB that a viewer shows on white."""
import os
import warnings
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps

from common.errors import CompLeakError
from data.names import shown

# Pillow has readers for 40 more formats, and one of them (EPS) starts another program.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
ENDINGS = {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff", ".gif"}
MOST_PIXELS = 64_000_000  # at most 800 MB while one is decoded
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of a TIFF file
SIGNED, FLOATING = 2, 3  # values of the last


@contextmanager
def opened(path):
    """A picture, open, its content unread; CompLeakError, one line, names one that cannot be read."""
    try:
        # Ignored are warnings of damaged EXIF blocks and large sizes: the latter are refused here.
        with warnings.catch_warnings(action="ignore"), _quiet():
            with Image.open(path, formats=FORMATS) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise ValueError(f"{picture.width}×{picture.height} pixels, at most {MOST_PIXELS:,} are read")
                yield picture
    except Exception as error:  # decoders meet damaged files with errors of a dozen types, MemoryError among them
        raise CompLeakError(f"{shown(path)}: this picture cannot be read ({_reason(error)}); mend or remove it") \
            from error


@contextmanager
def _quiet():
    """Keep standard error shut: libtiff writes to it by itself, several lines for what is then raised as one error."""
    try:
        before = os.dup(2)
    except OSError:  # it is shut already
        yield
        return
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def _reason(error):
    if isinstance(error, Image.UnidentifiedImageError):
        return f"neither {', '.join(FORMATS[:-1])} nor {FORMATS[-1]}, of a kind that Pillow cannot read, or damaged"
    return shown(" ".join(str(error).split())[:200]) or type(error).__name__


def pixels(path, size):
    """The picture in a file as [size, size, 3] uint8."""
    with opened(path) as picture:
        _fit_transparent_value(picture)
        ImageOps.exif_transpose(picture, in_place=True)
        return np.asarray(resized(_rgb(picture), size))


def _fit_transparent_value(picture):
    """Bring the one transparent value of an unread PNG to 8 bits, as Pillow does with the pixels and not with it."""
    value, coding = picture.info.get("transparency"), picture.tile[0].args if picture.tile else None
    if coding in ("L;2", "L;4") and isinstance(value, int):
        picture.info["transparency"] = value * 255 // (2 ** int(coding[-1]) - 1)
    elif coding == "RGB;16B" and isinstance(value, tuple):
        picture.info["transparency"] = tuple(one >> 8 for one in value)


def resized(picture, size):
    """A PIL picture as 8-bit RGB of size × size, bilinear; one that has the size stays as it is."""
    picture = picture if picture.mode == "RGB" else picture.convert("RGB")
    return picture if picture.size == (size, size) else picture.resize((size, size), Image.Resampling.BILINEAR)


def _rgb(picture):
    """The first frame in 8 bits a channel, laid on white where transparent; ValueError for values without a meaning."""
    if picture.format == "TIFF":
        _refuse_without_white(picture)
    if picture.mode == "F" or picture.mode.startswith("I"):
        return Image.fromarray(_eight_bits(picture))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=picture)
        return white
    return picture


def _eight_bits(picture):
    """Grey values [h, w] uint8 of a picture with more than 8 bits a pixel, black and white at the ends of its range."""
    values, most = np.asarray(picture), _white(picture)
    if not (values.min() >= 0 and values.max() <= most):
        raise ValueError(f"mode {picture.mode}: its values run from {values.min():g} to {values.max():g}, where "
                         f"0–{most} is black to white; save it as 8-bit PNG")
    grey = values * np.float32(255) if most == 1 else (np.arange(most + 1) * (255 / most))[values]
    grey = np.round(grey).astype(np.uint8)
    if picture.format == "TIFF" and picture.tag_v2.get(PHOTOMETRIC) == 0:
        grey = 255 - grey
    if isinstance(picture.info.get("transparency"), int):
        grey[values == picture.info["transparency"]] = 255
    return grey


def _refuse_without_white(picture):
    """ValueError for a TIFF of whole numbers, grey or colour, that are signed or have more than 16 bits."""
    bits, kind = _bits_and_kind(picture)
    if kind == SIGNED or (kind != FLOATING and bits > 16):
        raise ValueError(f"mode {picture.mode}: {bits}-bit {'signed ' if kind == SIGNED else ''}whole numbers have no "
                         "value that means white; save it as 8-bit PNG")


def _bits_and_kind(picture):
    (bits, *_), (kind, *_) = (picture.tag_v2.get(tag, (1,)) for tag in (BITS_PER_SAMPLE, SAMPLE_FORMAT))
    return bits, kind


def _white(picture):
    """The value of white: 1 for floating point; Pillow scales PNG's and PPM's whole numbers to 16 bits, not TIFF's."""
    if picture.mode == "F":
        return 1
    return 2 ** _bits_and_kind(picture)[0] - 1 if picture.format == "TIFF" else 65535


def encoding(path):
    """How a copy of a data set is encoded: 'JPEG q75' from the quantisation table, else the file format."""
    with opened(path) as picture:
        if picture.format not in ("JPEG", "MPO"):
            return f"{picture.format} copy"
        table = list(picture.quantization[0])
    for quality in range(1, 101):
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        if sorted(table) == sorted(min(max((base * scale + 50) // 100, 1), 255) for base in JPEG_LUMINANCE):
            return f"JPEG q{quality}"
    return "JPEG copy"


def size_and_format(path):
    """Width, height and format of a copy of a data set: '64×64 JPEG'."""
    with opened(path) as picture:
        return f"{picture.width}×{picture.height} {'JPEG' if picture.format == 'MPO' else picture.format}"


# The example luminance table of the JPEG standard (ITU-T T.81, Annex K.1), which libjpeg scales by quality.
JPEG_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99)
