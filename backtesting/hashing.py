"""Content ids: the same content has the same id on every machine, and the id says how it was made.

An id is `b2:` and 32 hexadecimal digits of BLAKE2b over canonical JSON (sorted keys, no spaces, shortest
round-trip floats, no NaN) or over named little-endian arrays.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

TAG = "b2:"
_DIGEST_BYTES = 16


def canonical_json(value: Any) -> str:
    """`value` as the one JSON text that equal values share.

    Raises ValueError for NaN and infinities: they have no JSON form and no place in an id.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_id(value: Any) -> str:
    """The id of a JSON-like value."""
    return bytes_id(canonical_json(value).encode("utf-8"))


def bytes_id(data: bytes) -> str:
    """The id of raw bytes."""
    return TAG + hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()


def arrays_id(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """The id of a JSON-like header together with named arrays; shape and dtype are part of it."""
    digest = hashlib.blake2b(canonical_json(dict(header)).encode("utf-8"), digest_size=_DIGEST_BYTES)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return TAG + digest.hexdigest()
