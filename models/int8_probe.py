"""Finds out whether this machine computes int8 products exactly, by computing some whose result is known.

x86 processors without VNNI add pairs of 8-bit products in 16 bits, where large ones saturate: a network quantized to
the full range then answers otherwise. The probe is the graph int8_probe.onnx, made by
models/training/int8_probe_graph.py: a product as ONNX has it (MatMulInteger), and one written as in a bundle, which
ONNX Runtime turns into the operator that bundles run on. `models.session` runs it, and chooses by what comes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

PROBE = Path(__file__).with_name("int8_probe.onnx")
WIDTH, COLUMNS = 384, 16


@dataclass(frozen=True)
class Int8Probe:
    """The probe's findings.

    Attributes:
        integer_exact: True where the plain integer product is exact.
        bundle_exact: True where the product that bundles run on is exact.
        largest_error: of both, in units of the integer result, which goes up to 12,435,840.
    """

    integer_exact: bool
    bundle_exact: bool
    largest_error: float

    @property
    def saturates(self) -> bool:
        """True where int8 arithmetic here differs from the exact one."""
        return not (self.integer_exact and self.bundle_exact)


def compare_products(session: ort.InferenceSession) -> Int8Probe:
    """Runs the probe's graph on one row and on many, which take different ways through the runtime."""
    errors = []
    for rows in (1, 2, 64):
        activations = probe_activations(rows)
        integer, as_in_bundle = session.run(
            ["integer_product", "bundle_product"], {"activations": activations.astype(np.float32)}
        )
        expected = activations @ probe_weights()
        errors.append([np.abs(found.astype(np.float64) - expected).max() for found in (integer, as_in_bundle)])
    integer_error, bundle_error = np.max(errors, axis=0)
    return Int8Probe(bool(integer_error == 0), bool(bundle_error == 0), float(max(integer_error, bundle_error)))


def probe_activations(rows: int) -> npt.NDArray[np.int64]:
    """(rows, WIDTH) in 0 to 255: the first row all 255, the others a mixture of extremes and halves."""
    row, place = np.ogrid[:rows, :WIDTH]
    activations: npt.NDArray[np.int64] = np.array([255, 0, 254, 128, 255, 1, 127], dtype=np.int64)[
        (5 * row + place + row * place) % 7
    ]
    activations[0] = 255
    return activations


def probe_weights() -> npt.NDArray[np.int64]:
    """(WIDTH, COLUMNS) in -127 to 127: all highest, all lowest, both in turn, in pairs, then mixtures of extremes.

    The graph holds them too. They are made by arithmetic only, so that no other version of numpy makes others.
    """
    place, column = np.ogrid[:WIDTH, :COLUMNS]
    weights: npt.NDArray[np.int64] = np.array([127, -127, 126, 0, -126, 1, 127], dtype=np.int64)[
        (3 * column + place + column * place) % 7
    ]
    turn = np.arange(WIDTH)
    weights[:, 0], weights[:, 1] = 127, -127
    weights[:, 2], weights[:, 3] = np.where(turn % 2, 127, -127), np.where(turn // 2 % 2, 127, -127)
    return weights
