"""data/pictures.py: every kind of picture becomes what a viewer shows, and every damaged one a line."""
import io
import random
import shutil
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from common.errors import CompLeakError
from data import pictures

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
COLOUR = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def read(path, picture, **how):
    """What is read of a PIL picture once it was saved."""
    picture.save(path, **how)
    return pictures.pixels(path, 8)


def grey(values):
    return np.repeat(values[..., None], 3, axis=2)


@pytest.mark.parametrize(("ending", "how"), [("png", {}), ("tif", {}), ("tif", {"compression": "tiff_lzw"}),
                                             ("ppm", {})])
def test_16_bits_are_scaled_not_clipped(tmp_path, ending, how):
    picture = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert np.array_equal(read(tmp_path / f"x.{ending}", picture, **how), grey(GREY))


@pytest.mark.parametrize("value", [0, 127, 128, 129, 385, 386, 32767, 65407, 65535])
def test_16_bits_are_rounded_to_the_nearest_of_256(tmp_path, value):
    found = read(tmp_path / "x.png", Image.fromarray(np.full((8, 8), value, np.uint16)))
    assert (found == round(value / 257)).all()


def test_two_classes_of_16_bit_grey_stay_apart_as_in_8_bits(tmp_path):
    rng = np.random.default_rng(1)
    for low, high in ((20, 90), (160, 230)):
        values = rng.integers(low, high, (8, 8)).astype(np.uint16)
        as_8 = read(tmp_path / "8.png", Image.fromarray(values.astype(np.uint8)))
        as_16 = read(tmp_path / "16.png", Image.fromarray(values * 257))
        assert np.array_equal(as_8, as_16)


def chunk(name, data):
    """One chunk of a PNG file."""
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (6, 4), (4, 2)], ids=["RGB", "RGBA", "grey and alpha"])
def test_16_bits_a_channel_are_read_in_colour_too(tmp_path, kind, channels):
    values = np.random.default_rng(2).integers(0, 2**16, (8, 8, channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = (8).to_bytes(4, "big") * 2 + bytes([16, kind, 0, 0, 0])
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                                     + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    shown = values / 65535
    colour, alpha = (shown, 1) if kind == 2 else (shown[..., :-1], shown[..., -1:])
    expected = 255 * (colour * alpha + 1 - alpha)
    assert np.abs(pictures.pixels(tmp_path / "x.png", 8) - expected).max() <= 2


def test_12_bit_tiff_and_10_bit_pgm_reach_white(tmp_path):
    pairs = np.array([0, 4095] * 32)
    packed = np.stack([pairs[::2] >> 4, (pairs[::2] & 15) << 4 | pairs[1::2] >> 8, pairs[1::2] & 255], 1)
    tiff(tmp_path / "x.tif", packed.astype(np.uint8).reshape(8, 12), 12, width=8)
    (tmp_path / "x.pgm").write_bytes(b"P5 8 8 1023\n" + np.array([0, 1023] * 32, ">u2").tobytes())
    for name in ("x.tif", "x.pgm"):
        assert np.array_equal(pictures.pixels(tmp_path / name, 8), grey(np.array([0, 255] * 32).reshape(8, 8)))


def test_big_endian_16_bits_are_read(tmp_path):
    big = Image.frombytes("I;16B", (8, 8), (GREY.astype(">u2") * 257).tobytes())
    assert np.array_equal(read(tmp_path / "x.tif", big), grey(GREY))


def tiff(path, values, bits, photometric=1, sample_format=1, width=None):
    """An uncompressed grey TIFF of one strip, tags written by hand."""
    raw = values.tobytes()
    height, width = len(values), width or values.shape[1]
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8),
            (277, 3, 1), (278, 4, height), (279, 4, len(raw)), (339, 3, sample_format)]
    entries = b"".join(tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little")
                       + value.to_bytes(4, "little") for tag, kind, value in tags)
    path.write_bytes(b"II*\0" + (8 + len(raw)).to_bytes(4, "little") + raw
                     + len(tags).to_bytes(2, "little") + entries + bytes(4))


def test_a_tiff_whose_white_is_zero_is_turned_round(tmp_path):
    tiff(tmp_path / "x.tif", GREY.astype("<u2") * 257, 16, photometric=0)
    assert np.array_equal(pictures.pixels(tmp_path / "x.tif", 8), grey(255 - GREY))


@pytest.mark.parametrize(("values", "bits", "kind", "says"), [
    (np.full((8, 8), 70_000, "<u4"), 32, 1, "mode I: 32-bit whole numbers"),
    (np.full((8, 8), -5, "<i2"), 16, 2, "mode I: 16-bit signed whole numbers"),
    (np.full((8, 8), -5, "<i1"), 8, 2, "mode L: 8-bit signed whole numbers"),
    (np.full((8, 8), 200, "<f4"), 32, 3, "mode F: its values run from 200 to 200, where 0–1 is black to white"),
    (np.full((8, 8), np.nan, "<f4"), 32, 3, "mode F: its values run from nan to nan"),
    (np.full((8, 8), -0.1, "<f4"), 32, 3, "mode F: its values run from -0.1"),
])
def test_values_without_a_meaning_are_named_with_their_mode(tmp_path, values, bits, kind, says):
    tiff(tmp_path / "x.tif", values, bits, sample_format=kind)
    with pytest.raises(CompLeakError, match=says) as error:
        pictures.pixels(tmp_path / "x.tif", 8)
    assert str(tmp_path / "x.tif") in str(error.value) and "8-bit PNG" in str(error.value)


def test_floating_point_means_0_to_1(tmp_path):
    found = read(tmp_path / "x.tif", Image.fromarray(GREY.astype(np.float32) / 255))
    assert np.array_equal(found, grey(GREY))


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGB", "RGBA", "1"])
def test_ordinary_modes_show_their_values(tmp_path, mode):
    source = Image.fromarray(GREY).convert(mode) if mode != "RGB" else Image.fromarray(COLOUR)
    expected = np.asarray(source.convert("RGB"))
    assert np.array_equal(read(tmp_path / "x.png", source), expected)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_other_colour_models_are_converted(tmp_path, mode):
    source = Image.fromarray(COLOUR).convert(mode)
    assert np.array_equal(read(tmp_path / "x.tif", source), np.asarray(source.convert("RGB")))


def test_lab_shows_the_colours_that_it_was_made_from(tmp_path):
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    soft = np.full((8, 8, 3), (200, 120, 60), np.uint8)
    lab = ImageCms.profileToProfile(Image.fromarray(soft), *profiles, outputMode="LAB")
    assert np.abs(read(tmp_path / "x.tif", lab).astype(int) - soft).max() <= 4


@pytest.mark.parametrize("alpha", [0, 51, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_shows_white(tmp_path, alpha, mode):
    source = Image.fromarray(COLOUR).convert(mode)
    source.putalpha(alpha)
    under = np.asarray(source.convert("RGB")).astype(float)
    expected = under * (alpha / 255) + 255 * (1 - alpha / 255)
    found = read(tmp_path / "x.png", source)
    assert np.abs(found - expected).max() <= 1 and (alpha or (found == 255).all())


@pytest.mark.parametrize(("source", "transparent"), [
    (Image.fromarray(GREY), 40), (Image.fromarray(COLOUR), tuple(map(int, COLOUR[1, 2]))),
    (Image.fromarray(GREY).convert("P"), 40), (Image.fromarray(GREY.astype(np.uint16) * 257), 40 * 257),
], ids=["grey", "colour", "palette", "16 bits"])
def test_one_colour_named_transparent_shows_white(tmp_path, source, transparent):
    found = read(tmp_path / "x.png", source, transparency=transparent)
    at = (1, 2)  # COLOUR's pixel, and the grey value 40
    assert (found[at] == 255).all() and (found != 255).any()


def png(path, rows, bits, kind, transparent):
    """A PNG of 8 pixels a row with one transparent value, written by hand."""
    header = (8).to_bytes(4, "big") + len(rows).to_bytes(4, "big") + bytes([bits, kind, 0, 0, 0])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"tRNS", transparent)
                     + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b""))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_is_found_at_every_depth(tmp_path, bits):
    values = np.arange(64).reshape(8, 8) % 2**bits
    rows = [sum(int(v) << bits * (7 - at) for at, v in enumerate(row)).to_bytes(bits, "big") for row in values]
    for transparent in {0, 1, 2**bits - 1}:
        png(tmp_path / "x.png", rows, bits, 0, transparent.to_bytes(2, "big"))
        shown = np.where(values == transparent, 255, np.round(values * (255 / (2**bits - 1))))
        assert np.array_equal(pictures.pixels(tmp_path / "x.png", 8), grey(shown))


def test_the_transparent_colour_is_found_in_16_bits(tmp_path):
    values = np.random.default_rng(2).integers(0, 2**16, (8, 8, 3)).astype(">u2")
    png(tmp_path / "x.png", [row.tobytes() for row in values], 16, 2, values[1, 2].tobytes())
    shown = values / 257
    shown[1, 2] = 255
    assert np.abs(pictures.pixels(tmp_path / "x.png", 8) - shown).max() <= 1


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_a_camera_that_was_held_turned_is_turned_back(tmp_path, ending):
    upright = np.zeros((16, 16, 3), np.uint8)
    upright[:8] = 240  # bright above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90° clockwise
    lying = Image.fromarray(np.rot90(upright).copy())
    found = read(tmp_path / f"x.{ending}", lying, exif=exif)
    assert found[:3].min() > 200 and found[5:].max() < 60


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("#ff0000", "#00ff00"))
    for ending in ("gif", "webp", "png", "tif"):
        found = read(tmp_path / f"x.{ending}", first, save_all=True, append_images=[second])
        assert (np.abs(found.astype(int) - [255, 0, 0]) <= 1).all()


def test_a_picture_cannot_start_a_program(tmp_path, monkeypatch):
    """An EPS file would be handed to Ghostscript, whatever its ending; so would others reach their plug-ins."""
    for module in (subprocess, shutil):
        for name in ("Popen", "check_call", "call", "run", "which"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("a program was looked for"))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "zz.png").write_bytes(eps)
    with pytest.raises(CompLeakError, match="zz.png: this picture cannot be read .neither JPEG, PNG.*nor GIF"):
        pictures.pixels(tmp_path / "zz.png", 8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "DDS", "ICO", "TGA", "PCX", "SGI", "IM", "MSP", "PDF"])
def test_other_formats_are_not_opened_under_a_familiar_ending(tmp_path, kind):
    content = io.BytesIO()
    try:
        Image.fromarray(GREY).convert("1" if kind == "MSP" else "RGB").save(content, kind)
    except (KeyError, OSError):
        content.write(b"a Pillow without this format")
    (tmp_path / "x.png").write_bytes(content.getvalue())
    with pytest.raises(CompLeakError, match="cannot be read .neither"):
        pictures.pixels(tmp_path / "x.png", 8)


def test_a_picture_too_large_to_decode_is_refused_before_it_is(tmp_path):
    header = (9_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")))
    with pytest.raises(CompLeakError, match="9000×9000 pixels, at most 64,000,000 are read"):
        pictures.pixels(tmp_path / "x.png", 8)


def seeds():
    """Whole pictures in every format and mode that this Pillow writes: {name: bytes}."""
    Image.init()
    found = {}
    for kind in sorted(set(Image.SAVE) - {"PDF", "PALM"}):
        for mode in ("RGB", "RGBA", "L", "1", "P", "I;16", "F", "CMYK"):
            content = io.BytesIO()
            picture = Image.fromarray(GREY.astype(np.uint16) if mode == "I;16" else COLOUR)
            picture = picture if mode == "I;16" else picture.convert(mode)
            try:
                picture.save(content, kind)
            except (KeyError, OSError, ValueError, SystemError):
                continue  # not every format takes every mode
            found[f"{kind} {mode}"] = content.getvalue()
    return found


def damaged(raw, rng):
    raw = bytearray(raw)
    at = rng.randrange(len(raw))
    how = rng.randrange(5)
    if how == 0:
        return raw[:at]
    if how == 1:
        raw[at : at + 8] = bytes(len(raw[at : at + 8]))
    if how == 2:
        raw[at:at] = rng.randbytes(5)
    for _ in range(rng.choice((1, 4, 16))):
        raw[rng.randrange(len(raw) if how > 3 else min(64, len(raw)))] = rng.randrange(256)
    return raw


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_damaged_pictures_of_every_format_end_in_one_line(tmp_path, capfd):
    rng, good, refused = random.Random(3), seeds(), 0
    assert len({name.split()[0] for name in good}) >= 15
    for i, raw in enumerate(list(good.values()) * 10):
        path = tmp_path / f"x{('.png', '.jpg', '.gif', '.tif', '.webp')[i % 5]}"
        path.write_bytes(damaged(raw, rng))
        try:
            assert pictures.pixels(path, 8).shape == (8, 8, 3)
            pictures.size_and_format(path), pictures.encoding(path)
        except CompLeakError as error:
            refused += 1
            assert str(error).startswith(f"{path}: this picture cannot be read (") and "\n" not in str(error)
            assert len(str(error)) < len(str(path)) + 300
    assert refused > 5 * len(good)
    assert capfd.readouterr() == ("", "")  # libtiff would write lines of its own


def test_standard_error_is_there_again_after_a_picture(tmp_path, capfd):
    read(tmp_path / "x.tif", Image.fromarray(COLOUR))
    print("still here", file=sys.stderr)
    assert capfd.readouterr().err == "still here\n"
