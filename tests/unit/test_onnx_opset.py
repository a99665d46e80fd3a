from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import check_opset, read_opsets
from schemas.errors import BundleError

TINY = (Path(__file__).parents[1] / "tiny_bundle/model.onnx").read_bytes()
SHIPPED = sorted((Path(__file__).parents[2] / "models/bundles").glob("*/model.onnx"))


def field(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


def opset(version: int, domain: str = "") -> bytes:
    return field(8, field(1, domain.encode()) + bytes([2 << 3, version]))


def refusal(model: bytes) -> str:
    with pytest.raises(BundleError, match=r"^here/model\.onnx: ") as caught:
        check_opset(model, "here/model.onnx")
    return str(caught.value)


def test_the_operator_sets_are_those_the_model_names() -> None:
    assert read_opsets(TINY) == [("ai.onnx", 17), ("com.microsoft", 1)]
    assert read_opsets(opset(12) + opset(3, "org.example")) == [("ai.onnx", 12), ("org.example", 3)]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_bundles_that_come_along_are_of_the_operator_sets_that_are_run(path: Path) -> None:
    check_opset(path.read_bytes(), str(path))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (opset(16), "ai.onnx 17, found 16"),
        (opset(18), "ai.onnx 17, found 18"),
        (opset(17) + opset(18, "ai.onnx"), "ai.onnx 17, found 18"),
        (opset(17) + opset(2, "com.microsoft"), "com.microsoft 1, found 2"),
        (opset(1, "com.microsoft"), "names no version of ai.onnx"),
        (b"", "names no version of ai.onnx"),
        (field(8, b""), "ai.onnx 17, found 0"),
        (b"not a model" * 100, "not an ONNX model"),
        (b"\xff" * 100, "a number too long"),
        (TINY[: len(TINY) // 2], "cut short"),
        (opset(17)[:-1], "cut short"),
        (b"\x40\x11", "its operator sets are not readable"),
        (field(8, field(2, b"17")), "its operator sets are not readable"),
        (b"\x08\x01" * 2_000_000, "more than 1000 fields"),
    ],
)
def test_a_model_of_other_operator_sets_or_none_is_refused_at_once(model: bytes, says: str) -> None:
    started = time.perf_counter()
    assert says in refusal(model)
    assert time.perf_counter() - started < 1.0


def test_operator_sets_that_exporters_name_without_using_them_are_let_through() -> None:
    check_opset(opset(17) + opset(5, "ai.onnx.ml") + opset(1, "com.microsoft"), "model.onnx")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_model_or_refused(content: bytes) -> None:
    assert is_accepted(content) == (("ai.onnx", 17) in opsets_of(content))


@given(st.integers(0, len(TINY) - 1), st.integers(0, 255))
def test_a_model_with_any_one_byte_changed_is_a_model_or_refused(position: int, byte: int) -> None:
    changed = bytearray(TINY)
    changed[position] = byte
    assert is_accepted(bytes(changed)) or opsets_of(bytes(changed)) != opsets_of(TINY)


def is_accepted(model: bytes) -> bool:
    with contextlib.suppress(BundleError):
        check_opset(model, "model.onnx")
        return True
    return False


def opsets_of(model: bytes) -> list[tuple[str, int]]:
    with contextlib.suppress(ValueError):
        return read_opsets(model)
    return []
