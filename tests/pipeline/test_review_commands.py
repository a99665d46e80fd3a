from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from escalation.database import reading, transaction
from escalation.people.accounts import check_password, find_person, stored_hash
from escalation.tables import items
from pipelines.cli import main
from schemas.codes import Role
from schemas.errors import ConfigError, InputError, VerificationError
from tests.support.queue_databases import NOON, new_sqlite, opened
from tests.support.review_cases import ANNA, PASSWORD, actions, fill, in_review, item, label, says
from tests.support.warehouses import open_folder


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """A warehouse whose queue has one settled item and one that waits."""
    place = open_folder(str(tmp_path / "warehouse")).root
    with opened(new_sqlite(place)) as queue:
        fill(queue, in_review("a"), in_review("b"))
        says(queue, ANNA, "a", label("billing", "an invoice"))
    return place


def docyard(warehouse: Path, *words: str, password: str | None = None) -> Result:
    env = {} if password is None else {"DOCYARD_REVIEW_PASSWORD": password}
    return CliRunner().invoke(main, [*words, "--warehouse", str(warehouse)], env=env)


def test_accounts_are_made_and_get_new_passwords(warehouse: Path) -> None:
    made = docyard(warehouse, "review", "add-user", "eve", "--role", "auditor", password=PASSWORD)
    assert (made.exit_code, made.output) == (0, "added eve, auditor\n")
    assert docyard(warehouse, "review", "set-password", "eve", password="another password").exit_code == 0
    asked = CliRunner().invoke(
        main,
        ["review", "add-user", "finn", "--role", "admin", "--warehouse", str(warehouse)],
        input=f"{PASSWORD}\n{PASSWORD}\n",
    )
    assert asked.exit_code == 0
    assert PASSWORD not in asked.output
    assert docyard(warehouse, "review", "add-user", "gus", "--role", "reviewer", "--no-password").exit_code == 0
    with opened(new_sqlite(warehouse)) as queue, reading(queue) as connection:
        eve = find_person(connection, "eve")
        assert eve is not None
        assert eve.role is Role.AUDITOR
        assert check_password(stored_hash(connection, "eve"), "another password")
        assert stored_hash(connection, "gus") is None


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["review", "add-user", "Eve!", "--role", "auditor"], ConfigError.exit_code),
        (["review", "set-password", "nobody"], ConfigError.exit_code),
        (["review", "serve", "--host", "0.0.0.0"], ConfigError.exit_code),
        (["review", "serve", "--host", "192.0.2.1"], ConfigError.exit_code),
        (["erase"], ConfigError.exit_code),
        (["erase", "--document-id", "x", "--older-than", "3"], ConfigError.exit_code),
        (["erase", "--older-than", "3", "--document-type", "ticket"], ConfigError.exit_code),
        (["erase", "--document-id", "x"], InputError.exit_code),
        (["resolve", "--document-type", "ticket"], ConfigError.exit_code),
        (["audit", "verify", "--checkpoint", "x"], ConfigError.exit_code),
        (["audit", "export", "trail.pdf"], ConfigError.exit_code),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(warehouse: Path, words: list[str], code: int) -> None:
    result = docyard(warehouse, *words, password=PASSWORD)
    assert result.exit_code == code, result.output
    assert result.output.count("\n") == 1
    assert result.output.startswith("error: ")


def test_a_warehouse_without_a_queue_gets_none(tmp_path: Path) -> None:
    place = open_folder(str(tmp_path / "warehouse")).root
    for words in (["audit", "verify"], ["resolve"], ["review", "add-user", "eve", "--role", "admin"]):
        result = docyard(place, *words, password=PASSWORD)
        assert result.exit_code == InputError.exit_code
        assert "docyard queue load" in result.output
    assert not list(place.glob("*.sqlite"))


def test_the_trail_is_verified_against_a_checkpoint_of_before_and_exported(warehouse: Path, tmp_path: Path) -> None:
    verified = docyard(warehouse, "audit", "verify")
    assert verified.exit_code == 0
    end = re.search(r"keep elsewhere: (\d+:\w{64})\n", verified.output)
    assert end
    assert docyard(warehouse, "audit", "export", str(tmp_path / "trail.csv")).exit_code == 0
    assert (tmp_path / "trail.csv").stat().st_mode & 0o077 == 0
    assert docyard(warehouse, "audit", "verify", "--checkpoint", end.group(1)).exit_code == 0
    forged = docyard(warehouse, "audit", "verify", "--checkpoint", "2:" + "0" * 64)
    assert forged.exit_code == VerificationError.exit_code
    assert "event 2" in forged.output


def test_settled_items_are_published_with_views_and_training_data(warehouse: Path, tmp_path: Path) -> None:
    sql, data = tmp_path / "decisions.sql", tmp_path / "data.jsonl"
    result = docyard(warehouse, "resolve", "--sql", str(sql), "--training-data", str(data))
    assert result.exit_code == 0, result.output
    assert "resolutions: 1 row in 1 partition, 1 of them written anew" in result.output
    assert json.loads(data.read_text())["label"] == "billing"
    assert data.stat().st_mode & 0o077 == 0
    assert str(warehouse) in sql.read_text()


def test_an_erasure_says_first_what_it_would_do_and_what_it_does_not_reach(warehouse: Path) -> None:
    words = ["erase", "--document-id", "id-a"]
    tried = docyard(warehouse, *words, "--dry-run")
    assert tried.output.startswith("would erase the words of 1 item (0 undecided) and 1 comment\n")
    assert "not reached: the source, and copies that others made" in tried.output
    assert docyard(warehouse, *words).output.startswith("erased the words of 1 item ")
    assert docyard(warehouse, "erase", "--older-than", "0").exit_code == 0
    with opened(new_sqlite(warehouse)) as queue:
        assert item(queue, "a")["text"] is None
        assert item(queue, "b")["text"] is not None
    assert docyard(warehouse, "audit", "verify").exit_code == 0


def test_items_go_to_label_studio_and_refused_annotations_end_with_an_error(warehouse: Path, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.json"
    assert docyard(warehouse, "label-studio", "export", str(tasks), "--document-type", "ticket").exit_code == 0
    assert tasks.stat().st_mode & 0o077 == 0
    (task,) = json.loads(tasks.read_text())
    result = [{"from_name": "label", "value": {"choices": ["nonsense"]}}]
    skipped = {"id": 2, "completed_by": 1, "result": [], "was_cancelled": True}
    task["annotations"] = [{"id": 1, "completed_by": 1, "result": result}, skipped]
    tasks.write_text(json.dumps([task]))
    (tmp_path / "annotators.toml").write_text('[annotators]\n1 = "gus"\n')
    words = ["label-studio", "import", str(tasks), "--annotators", str(tmp_path / "annotators.toml")]
    unknown = docyard(warehouse, *words)
    assert (unknown.exit_code, unknown.output.count("\n")) == (ConfigError.exit_code, 1)
    docyard(warehouse, "review", "add-user", "gus", "--role", "reviewer", "--no-password")
    imported = docyard(warehouse, *words)
    assert imported.exit_code == InputError.exit_code
    assert "0 annotations taken, 0 known before, 1 skipped in Label Studio, 0 changed" in imported.output
    assert "task 0, annotation 1: Choose one of the labels" in imported.output
    result[0]["value"]["choices"] = ["delivery"]
    tasks.write_text(json.dumps([task]))
    for taken, words_of_taken in ((1, "1 annotation"), (0, "0 annotations")):
        again = docyard(warehouse, *words)
        assert again.exit_code == 0, again.output
        assert f"{words_of_taken} taken, {1 - taken} known before, 1 skipped" in again.output


def test_the_server_serves_until_a_signal_and_keeps_up_with_the_queue(warehouse: Path, tmp_path: Path) -> None:
    config = tmp_path / "review.toml"
    config.write_text(f"warehouse = '{warehouse}'\n[server]\nport = 0\n[due]\ncheck_seconds = 0.1\n")
    command = [sys.executable, "-m", "pipelines.cli", "review", "serve", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[2]
            with urllib.request.urlopen(f"{url}log-in") as page:
                assert "Log in" in page.read().decode()
                assert "default-src 'none'" in page.headers["content-security-policy"]
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(f"{url}log-in", b"name=a&password=b"))
            assert refused.value.code == 403
            refused.value.close()
            with opened(new_sqlite(warehouse)) as queue:
                with transaction(queue) as connection:
                    connection.execute(items.insert(), in_review("late", state_at=NOON))
                for _ in range(100):
                    if "review_opened" in actions(queue, "late"):
                        break
                    time.sleep(0.1)
                assert "review_opened" in actions(queue, "late")
        finally:
            server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=20)
    assert (server.returncode, out) == (0, "")
    assert err == "WARNING escalation.web.guard: a form from another site was refused\n"
