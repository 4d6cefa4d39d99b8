"""What an .onnx file says of itself: the few fields that the C interface does not tell of."""

from __future__ import annotations

import io
from typing import BinaryIO, Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# ModelProto and GraphProto. Source: onnx.proto.
_MODEL_TEXTS = {2: "producer_name", 3: "producer_version", 4: "domain", 6: "description"}
_MODEL_VERSION, _GRAPH = 5, 7
_GRAPH_TEXTS = {2: "graph_name", 10: "graph_description"}


def _varint(file: BinaryIO) -> int | None:
    value = shift = 0
    while True:
        byte = file.read(1)
        if not byte or shift > 63:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7


def _fields(file: BinaryIO, end: int | None) -> Iterator[tuple[int, int, int]]:
    """(field, wire type, its length or value); the file stands at the bytes of a field of bytes.
    Stops at what is no message."""
    while end is None or file.tell() < end:
        tag = _varint(file)
        if tag is None:
            return
        number, kind = tag >> 3, tag & 7
        value = _varint(file) if kind in (_VARINT, _BYTES) else {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if value is None:
            return
        begin = file.tell()
        yield number, kind, value
        file.seek(begin if kind == _VARINT else begin + value)


def read_notes(source: str | bytes) -> dict[str, str | int]:
    """producer_name, version, graph_name, ... of a model's file or bytes. Weights are skipped, not
    read. Empty texts and 0 for what is not there, or for a file that holds no ONNX model."""
    notes: dict[str, str | int] = {name: "" for name in (*_MODEL_TEXTS.values(),
                                                        *_GRAPH_TEXTS.values())}
    notes["version"] = 0
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        for number, kind, value in _fields(file, None):
            if number in _MODEL_TEXTS and kind == _BYTES:
                notes[_MODEL_TEXTS[number]] = file.read(value).decode("utf-8", "replace")
            elif number == _MODEL_VERSION and kind == _VARINT:
                notes["version"] = value - (1 << 64) if value >> 63 else value
            elif number == _GRAPH and kind == _BYTES:
                for inner, inner_kind, length in _fields(file, file.tell() + value):
                    if inner in _GRAPH_TEXTS and inner_kind == _BYTES:
                        notes[_GRAPH_TEXTS[inner]] = file.read(length).decode("utf-8", "replace")
    return notes
