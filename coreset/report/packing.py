"""Long arrays in the page: few bytes for as many digits as the eye can tell apart.

An array of floats becomes whole numbers of 16 bits, value = offset + scale × number, in base64, little-endian; the
smallest number stands for NaN. Whole numbers keep their type. `page.js` unpacks both before plotly sees them.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import numpy as np

STEPS = 32_000
"""Numbers on either side of the middle of an array's range."""
NAN = -32_768
_KINDS = {"uint8": "u1", "int8": "i1", "uint16": "u2", "int16": "i2", "uint32": "u4", "int32": "i4"}


def packed(values: np.ndarray) -> dict[str, Any]:
    """The array as JSON: `dtype` and `bdata` as in plotly's own JSON, `shape`, and of floats `scale` and `offset`.

    Raises TypeError for an array that is neither of floats nor of whole numbers of at most 32 bits.
    """
    found: dict[str, Any] = {"shape": list(values.shape)}
    if values.dtype.kind == "f":
        finite = values[np.isfinite(values)].astype(np.float64)
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        offset, scale = (low + high) / 2, (high - low) / 2 / STEPS or 1.0
        steps = np.round((np.nan_to_num(values.astype(np.float64), nan=offset) - offset) / scale)
        values = np.where(np.isnan(values), NAN, steps).astype(np.int16)
        found |= {"scale": float(f"{scale:.9g}"), "offset": float(f"{offset:.9g}")}
    if values.dtype.name not in _KINDS:
        raise TypeError(f"array of {values.dtype.name}: expected floats or whole numbers of at most 32 bits.")
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return {**found, "dtype": _KINDS[values.dtype.name], "bdata": base64.b64encode(little.tobytes()).decode()}


def script_json(value: Any) -> str:
    """JSON that may stand in a script element: without the characters that could end it. Raises ValueError on NaN."""
    text = json.dumps(value, default=packed, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


def script_base64(text: str) -> str:
    """A text, compressed, in base64: the same bytes for the same text."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
