"""Frame -> tensor and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.preprocess import Fit, InputSpec, boxes_to_frame, pixel_table, place, prepare_tensor

INT8 = InputSpec((1, 32, 48, 3), np.dtype(np.int8), 1.0, -128)
FITS: tuple[Fit, ...] = ("letterbox_topleft", "letterbox_center", "stretch")
sizes = st.integers(1, 400)


def spec(fit: Fit) -> InputSpec:
    return InputSpec((1, 32, 48, 3), np.dtype(np.int8), 1.0, -128, fit=fit)


def test_a_picture_of_the_right_size_passes_unchanged() -> None:
    image = np.arange(32 * 48 * 3, dtype=np.uint32).astype(np.uint8).reshape(32, 48, 3)
    tensor, placement = prepare_tensor(image, INT8)
    assert np.array_equal(tensor[0], (image.astype(np.int16) - 128).astype(np.int8))
    assert (placement.scale_x, placement.shift_x) == (1.0, 0.0)


def test_letterbox_pads_below_a_wide_picture() -> None:
    tensor, _ = prepare_tensor(np.full((20, 60, 3), 255, np.uint8), INT8)
    assert (tensor[0, :16] == 127).all()
    assert (tensor[0, 16:] == 114 - 128).all()


def test_letterbox_in_the_centre_pads_both_sides() -> None:
    tensor, _ = prepare_tensor(np.full((20, 60, 3), 255, np.uint8), spec("letterbox_center"))
    assert (tensor[0, 8:24] == 127).all()
    assert (tensor[0, :8] == 114 - 128).all()
    assert (tensor[0, 24:] == 114 - 128).all()


def test_stretch_fills_the_tensor() -> None:
    tensor, _ = prepare_tensor(np.full((7, 90, 3), 255, np.uint8), spec("stretch"))
    assert (tensor == 127).all()


def test_rgb_swaps_the_channels_and_grey_weighs_them() -> None:
    image = np.zeros((32, 48, 3), np.uint8)
    image[..., 0] = 200  # blue
    rgb = InputSpec((1, 32, 48, 3), np.dtype(np.uint8), 1 / 255, 0, color="rgb", gain=1 / 255)
    grey = InputSpec((1, 32, 48, 1), np.dtype(np.uint8), 1 / 255, 0, color="grey", gain=1 / 255)
    assert prepare_tensor(image, rgb)[0][0, 0, 0].tolist() == [0, 0, 200]
    assert prepare_tensor(image, grey)[0][0, 0, 0].tolist() == [23]


def test_pixels_are_quantised_by_scale_and_zero_point() -> None:
    table = pixel_table(InputSpec((1, 1, 1, 3), np.dtype(np.int8), 0.02, 3, gain=1 / 127.5, offset=-1.0))
    real = (table.astype(np.float64) - 3) * 0.02
    assert np.abs(real - (np.arange(256) / 127.5 - 1)).max() <= 0.0101


def test_a_float_model_gets_real_numbers() -> None:
    table = pixel_table(InputSpec((1, 1, 1, 3), np.dtype(np.float32), 0.0, 0, gain=1 / 255))
    assert table.dtype == np.float32
    assert table[255] == pytest.approx(1.0)


def test_shrinking_averages_instead_of_picking() -> None:
    stripes = np.zeros((256, 384, 3), np.uint8)
    stripes[:, ::2] = 255
    tensor, _ = prepare_tensor(stripes, INT8)
    assert (
        np.abs(tensor.astype(int)).max() <= 2
    )  # grey, 127.5 - 128; nearest or plain bilinear would give ±128


@given(sizes, sizes, st.sampled_from(FITS))
def test_boxes_come_back_to_where_they_were(width: int, height: int, fit: Fit) -> None:
    placement = place(width, height, spec(fit))
    frame_box = np.array([[0.1 * width, 0.2 * height, 0.7 * width, 0.9 * height]], np.float32)
    shift = np.array([placement.shift_x, placement.shift_y] * 2, np.float32)
    scale = np.array([placement.scale_x, placement.scale_y] * 2, np.float32)
    assert np.allclose(
        boxes_to_frame(frame_box * scale + shift, placement), frame_box, atol=width * 1e-3 + 1e-2
    )


@given(sizes, sizes, st.sampled_from(FITS))
def test_any_picture_fits(width: int, height: int, fit: Fit) -> None:
    tensor, _ = prepare_tensor(np.full((height, width, 3), 7, np.uint8), spec(fit))
    assert tensor.shape == (1, 32, 48, 3)
    assert (tensor == 7 - 128).any()


def test_boxes_are_clipped_to_the_frame() -> None:
    boxes = boxes_to_frame(np.array([[-50, -50, 500, 500]], np.float32), place(100, 50, INT8))
    assert boxes.tolist() == [[0, 0, 100, 50]]
