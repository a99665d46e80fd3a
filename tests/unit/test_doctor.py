from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from models import machine as cpu
from models import machine as session_module
from models.machine import (
    PROBE,
    Int8Probe,
    Int8Products,
    compare_products,
    int8_products,
    new_session,
    open_session,
    parse_cpuinfo,
    probe_activations,
    probe_weights,
    this_machine,
)
from tests.support.small_runs import docyard, flip_byte

XEON = "processor\t: 0\nmodel name\t: Xeon 1\nflags\t\t: fpu avx2 avx512f avx512_vnni amx_int8\nflags\t:\n"
GRAVITON = "processor\t: 0\nBogoMIPS\t: 2100.00\nFeatures\t: fp asimd asimddp i8mm\n"


def change_fingerprint(bundle: Path, number: int, **values: object) -> None:
    path = bundle / "bundle.json"
    manifest = json.loads(path.read_bytes())
    manifest["fingerprint"][number] |= values
    path.write_text(json.dumps(manifest))


class SaturatingSession:
    """Adds each pair of 8-bit products in 16 bits, as processors without VNNI do."""

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        products = inputs["activations"].astype(np.int64)[:, :, None] * probe_weights()
        pairs = products[:, ::2] + products[:, 1::2]
        total = np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=1)
        return [total.astype(np.int32), total.astype(np.float32)]


def test_a_bundle_that_answers_as_recorded_is_sound(tiny_bundle: Path) -> None:
    result = docyard("doctor", tiny_bundle)
    assert result.exit_code == 0, result.output
    assert "4 of 4 texts answered as recorded" in result.stdout
    assert "tiny@" in result.stdout


def test_without_a_bundle_only_the_machine_is_looked_at() -> None:
    result = docyard("doctor")
    assert result.exit_code == 0
    assert "ONNX Runtime" in result.stdout
    assert "bundle " not in result.stdout


def test_a_bundle_that_answers_otherwise_ends_with_4_and_every_difference(tiny_bundle: Path) -> None:
    change_fingerprint(tiny_bundle, 1, confidence=0.3)
    change_fingerprint(tiny_bundle, 2, label="billing", confidence=0.9)
    result = docyard("doctor", tiny_bundle, "--json")
    assert result.exit_code == 4
    assert result.stderr.startswith("error: ")
    (bundle,) = json.loads(result.stdout)["bundles"]
    assert bundle["sound"] is False
    assert [answer["text"] for answer in bundle["differences"]] == [1, 2]
    assert bundle["largest_difference"] == pytest.approx(abs(bundle["differences"][0]["confidence"] - 0.3))
    described = docyard("doctor", tiny_bundle).stdout
    assert "2 of 4 texts answered as recorded" in described
    assert "text 2: recorded billing (0.900), found" in described


def test_a_broken_bundle_keeps_no_other_from_being_examined(
    tiny_bundle: Path, tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    flip_byte(tiny_bundle / "model.onnx")
    result = docyard("doctor", tiny_bundle, tmp_path / "nowhere", tiny_bundle_unchanged)
    assert result.exit_code == 4
    assert f"{tiny_bundle / 'model.onnx'}: changed" in result.stdout
    assert "nowhere: no such folder" in result.stdout
    assert "4 of 4 texts answered as recorded" in result.stdout
    assert str(tiny_bundle_unchanged) not in result.stderr


def test_a_bundle_without_a_fingerprint_is_said_to_prove_nothing(tiny_bundle: Path) -> None:
    path = tiny_bundle / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"fingerprint": []}))
    result = docyard("doctor", tiny_bundle)
    assert result.exit_code == 0, result.output
    assert "none: nothing tells" in result.stdout


def test_the_probe_runs_the_operator_that_bundles_run_on(tmp_path: Path) -> None:
    new_session(PROBE.read_bytes(), tmp_path / "optimized.onnx")
    optimized = (tmp_path / "optimized.onnx").read_bytes()
    assert b"MatMulIntegerToFloat" in optimized
    assert b"DequantizeLinear" not in optimized


def test_the_probe_s_graph_holds_the_weights_it_is_compared_with() -> None:
    assert probe_weights().astype(np.int8).tobytes() in PROBE.read_bytes()
    assert (probe_activations(64) @ np.abs(probe_weights())).max() < 2**24  # exact in float32


def test_int8_is_exact_on_the_machines_that_run_these_tests() -> None:
    products = int8_products()
    assert not products.used.saturates
    assert products.exact_option is products.plain.saturates
    features = this_machine().features or {}
    if features.get("VNNI") or features.get("i8mm"):
        assert products.exact_option is False


EXACT, SATURATED = Int8Probe(True, True, 0.0), Int8Probe(False, False, 6_144_576.0)


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[bool, Int8Probe]]:
    """The probe's findings without and with the option for exact products; the test sets them."""
    found = {False: EXACT, True: EXACT}
    monkeypatch.setattr(session_module, "_probe", lambda exact_option: found[exact_option])
    int8_products.cache_clear()
    yield found
    int8_products.cache_clear()


def precision_of(session: ort.InferenceSession) -> str:
    try:
        return str(session.get_session_options().get_session_config_entry("session.x64quantprecision"))
    except RuntimeError:  # the entry is not set
        return ""


def test_a_machine_whose_int8_saturates_is_found_out() -> None:
    probe = compare_products(SaturatingSession())
    assert (probe.integer_exact, probe.bundle_exact, probe.saturates) == (False, False, True)
    assert probe.largest_error > 1e6


def test_every_session_computes_exactly_where_the_fastest_products_saturate(
    probes: dict[bool, Int8Probe], tiny_bundle: Path
) -> None:
    probes[False] = SATURATED
    assert int8_products() == Int8Products(SATURATED, True, EXACT)
    assert precision_of(new_session(PROBE)) == "1"
    assert precision_of(open_session((tiny_bundle / "model.onnx").read_bytes(), 4, "model.onnx")) == "1"
    result = docyard("doctor", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)["int8"]
    assert (found["exact_option"], found["saturates"], found["plain"]["largest_error"]) == (True, False, 6_144_576.0)
    described = docyard("doctor").stdout
    assert "exact, by ONNX Runtime's slower products" in described
    assert "SATURATES" not in described


def test_the_fastest_products_are_used_where_they_are_exact(probes: dict[bool, Int8Probe]) -> None:
    assert precision_of(new_session(PROBE)) == ""
    assert "exact, by ONNX Runtime's fastest products" in docyard("doctor").stdout


def test_a_machine_without_exact_products_is_said_to_saturate(probes: dict[bool, Int8Probe]) -> None:
    probes[False] = probes[True] = SATURATED
    assert precision_of(new_session(PROBE)) == ""
    assert json.loads(docyard("doctor", "--json").stdout)["int8"]["saturates"] is True
    assert "SATURATES" in docyard("doctor").stdout


def test_the_option_for_exact_products_changes_no_bit_where_they_are_exact_anyway(tiny_bundle: Path) -> None:
    if int8_products().exact_option:
        pytest.skip("the fastest products saturate here, so that the option makes a difference")
    model, ids = (tiny_bundle / "model.onnx").read_bytes(), np.array([[2, 5, 9, 3], [2, 6, 6, 3]], dtype=np.int64)
    sessions = [new_session(model, exact_option=exact) for exact in (False, True)]
    plain, exact = (session.run(["logits"], {"input_ids": ids})[0] for session in sessions)
    assert np.array_equal(plain, exact)


def test_the_flags_of_a_processor_are_read_from_the_first_core() -> None:
    name, features = parse_cpuinfo(XEON, "x86_64")
    assert name == "Xeon 1"
    assert features == {
        "AVX2": True, "AVX-512": True, "VNNI": True, "AMX int8": True, "AMX bf16": False, "bf16": False
    }  # fmt: skip
    assert parse_cpuinfo(GRAVITON, "aarch64") == ("", {"dot product": True, "i8mm": True, "bf16": False})


def test_what_the_system_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert parse_cpuinfo("", "arm64") == ("", None)

    class NoFiles(type(tmp_path)):  # type: ignore[misc]
        def read_text(self, *arguments: object, **options: object) -> str:
            raise FileNotFoundError

    monkeypatch.setattr(cpu, "Path", NoFiles)
    monkeypatch.setattr(cpu.platform, "processor", lambda: "")
    monkeypatch.delattr("os.sysconf")
    machine = this_machine()
    assert (machine.processor, machine.features, machine.memory_bytes) == ("unknown", None, None)
    described = docyard("doctor").stdout
    assert "instructions  unknown" in described
    assert "memory        unknown" in described
