"""A run of a bundle whose labels are a tree counts what it accepted by parent."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.classify import classify
from pipelines.run_descriptions import describe_run
from schemas.run_config import InputConfig
from tests.support.made_up_certificate import write_certified_manifest
from tests.support.small_runs import config_of, documents, read_published, write_jsonl


def test_accepted_answers_are_counted_by_parent_and_shown(tiny_bundle: Path, tmp_path: Path) -> None:
    path, policy = tiny_bundle / "labels.json", tiny_bundle / "policy.toml"
    values = json.loads(path.read_text())
    for label, name in zip(values["labels"], ("a/x", "a/y/1", "a/y/2", "b"), strict=True):
        old, label["name"] = label["name"], name
        policy.write_text(policy.read_text().replace(f'"{old}"', f'"{name}"'))
    path.write_text(json.dumps(values | {"tree_separator": "/"}))
    facts = {"name": "tiny", "created": "2026-11-22", "document_type": "ticket", "max_tokens": 32}
    write_certified_manifest(tiny_bundle, **facts)
    source = write_jsonl(tmp_path / "in.jsonl", documents(40))
    config = config_of((InputConfig((str(source),), "ticket", str(tiny_bundle)),), tiny_bundle, tmp_path / "w")
    manifest = classify(config, ())
    rows = read_published(tmp_path / "w", "classifications")
    accepted = rows["label"][rows["route"] == "accepted"]
    expected = {name: int(accepted.str.startswith(name + "/").sum()) for name in ("a", "a/y")}
    assert 0 < expected["a/y"] < expected["a"] < len(rows)
    assert manifest.counts["parents"] == {"ticket": expected}
    shown = describe_run(manifest, tmp_path / "w")
    assert f"by parent   ticket, accepted:  a {expected['a']}, a/y {expected['a/y']}" in shown
