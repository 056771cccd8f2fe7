"""What the page unpacks is what was packed, to four digits of an array's range; and no text of it can end a script."""

import base64
import gzip
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from coreset.report.packing import STEPS, packed, script_base64, script_json

TYPES = {"i1": "<i1", "u1": "<u1", "i2": "<i2", "u2": "<u2", "i4": "<i4", "u4": "<u4"}


def unpacked(value: dict[str, Any]) -> np.ndarray:
    """As page.js does it."""
    whole = np.frombuffer(base64.b64decode(value["bdata"]), TYPES[value["dtype"]]).reshape(value["shape"])
    if "scale" not in value:
        return whole
    return np.where(whole == -32768, np.nan, value["offset"] + value["scale"] * whole)


fields = arrays(np.float32, array_shapes(min_dims=1, max_dims=2, max_side=9), elements=st.floats(-1e6, 1e6, width=32))


@given(fields)
def test_floats_come_back_within_half_a_step(values: np.ndarray) -> None:
    found = unpacked(json.loads(script_json(values)))
    assert found.shape == values.shape
    wide = values.astype(np.float64)
    # Nine digits of scale and offset are kept.
    step = np.ptp(wide) / 2 / STEPS
    assert np.abs(found - wide).max(initial=0) <= 0.5 * step + 1e-7 * np.abs(wide).max(initial=0) + 1e-300


def test_holes_stay_holes() -> None:
    values = np.array([[np.nan, -1.0], [3.0, np.nan]], np.float32)
    assert np.isnan(unpacked(packed(values))).tolist() == [[True, False], [False, True]]
    assert np.isnan(unpacked(packed(np.full(3, np.nan)))).all()


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.uint32])
def test_whole_numbers_are_kept_to_the_last(kind: type) -> None:
    values = np.array([0, 1, np.iinfo(kind).max], kind)
    assert np.array_equal(unpacked(packed(values)), values)


def test_other_arrays_are_refused() -> None:
    for values in (np.array(["a"]), np.array([1], np.int64), np.array([1j])):
        with pytest.raises(TypeError):
            packed(values)
    with pytest.raises(ValueError, match="JSON compliant"):
        script_json({"x": float("nan")})


def test_no_text_ends_a_script() -> None:
    text = "</script><!-- & \u2028"
    found = script_json({"name": text})
    assert "<" not in found
    assert "&" not in found
    assert json.loads(found) == {"name": text}


def test_a_compressed_text_is_the_same_every_time() -> None:
    text = "x = '</script>'; π" * 100
    assert script_base64(text) == script_base64(text)
    assert gzip.decompress(base64.b64decode(script_base64(text))).decode() == text
