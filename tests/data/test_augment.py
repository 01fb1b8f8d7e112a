"""data/augment.py against a plain per-picture loop."""
import numpy as np
import pytest
import torch

from data.augment import PAD, VIEWS, crop_and_flip, draw, normalise, view


def pictures(n, height=8, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 256, (n, height, width, 3), dtype=torch.uint8, generator=generator)


def plain_crop_and_flip(image, offset, flip):
    """One picture: pad with zeros, cut, mirror what was cut."""
    height, width, _ = image.shape
    padded = np.pad(image.numpy(), ((PAD, PAD), (PAD, PAD), (0, 0)))
    cut = padded[offset[0] : offset[0] + height, offset[1] : offset[1] + width]
    return cut[:, ::-1] if flip else cut


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 12)])
def test_every_crop_and_flip_equals_the_plain_one(height, width):
    cases = [(row, column, flip) for row in range(2 * PAD + 1) for column in range(2 * PAD + 1) for flip in (0, 1)]
    images = pictures(len(cases), height, width)
    offsets = torch.tensor([case[:2] for case in cases])
    flips = torch.tensor([case[2] for case in cases], dtype=torch.bool)
    result = crop_and_flip(images, offsets, flips)
    assert result.shape == images.shape and result.dtype == torch.uint8
    for image, out, (row, column, flip) in zip(images, result, cases, strict=True):
        assert np.array_equal(out.numpy(), plain_crop_and_flip(image, (row, column), flip)), (row, column, flip)


def test_the_middle_crop_is_the_picture():
    images = pictures(5)
    same = crop_and_flip(images, torch.full((5, 2), PAD), torch.zeros(5, dtype=torch.bool))
    assert torch.equal(same, images)
    mirrored = crop_and_flip(images, torch.full((5, 2), PAD), torch.ones(5, dtype=torch.bool))
    assert torch.equal(mirrored, images.flip(2))


def test_draws_are_uniform_and_repeatable():
    offsets, flips = draw(9_000, torch.Generator().manual_seed(1))
    counts = np.bincount((offsets[:, 0] * (2 * PAD + 1) + offsets[:, 1]).numpy(), minlength=(2 * PAD + 1) ** 2)
    # 81 equally likely crops: 111 each, standard deviation near 10.5.
    assert len(counts) == 81 and counts.min() > 55 and counts.max() < 175
    assert abs(flips.float().mean().item() - 0.5) < 0.03
    again = draw(9_000, torch.Generator().manual_seed(1))
    assert torch.equal(offsets, again[0]) and torch.equal(flips, again[1])
    assert not torch.equal(offsets, draw(9_000, torch.Generator().manual_seed(2))[0])


@pytest.mark.parametrize("statistics", [((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
                                        ((0.0, 0.3, 1.0), (1.0, 0.01, 0.5))])
def test_normalise_is_the_plain_formula(statistics):
    mean, std = np.array(statistics)
    images = pictures(6, 8, 9)
    x = normalise(images, *statistics)
    expected = ((images.double().numpy() / 255 - mean) / std).transpose(0, 3, 1, 2)
    assert x.shape == (6, 3, 8, 9) and x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6, atol=1e-5)


def test_constants_made_for_queries_serve_training():
    statistics = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]  # lists, as they come from JSON
    with torch.inference_mode():
        first = normalise(pictures(2), *statistics)
    x = normalise(pictures(2), *statistics)
    assert torch.equal(x, first) and not x.is_inference()
    weight = torch.ones(3, 1, 1, requires_grad=True)
    (x * weight).sum().backward()
    np.testing.assert_allclose(weight.grad.flatten(), x.sum((0, 2, 3)), rtol=1e-5)
    other = normalise(pictures(2), [0.0] * 3, [1.0] * 3)
    torch.testing.assert_close(other, pictures(2).permute(0, 3, 1, 2) / 255)


def test_a_view_is_the_picture_shifted_by_a_pixel_or_mirrored_and_no_two_are_the_same():
    images = pictures(3, 6, 7)
    seen = {images.numpy().tobytes()}
    for number, (down, right, flip) in enumerate(VIEWS):
        found = view(images, number)
        for picture, out in zip(images.tolist(), found.tolist(), strict=True):
            for row in range(6):
                for column in range(7):
                    row_from, column_from = row - down, (6 - column if flip else column) - right
                    inside = 0 <= row_from < 6 and 0 <= column_from < 7
                    assert out[row][column] == (picture[row_from][column_from] if inside else [0, 0, 0])
        seen.add(found.numpy().tobytes())
    assert VIEWS[0] == (0, 0, True) and len(seen) == 1 + len(VIEWS) == 18
