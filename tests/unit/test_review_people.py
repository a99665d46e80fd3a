from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher

from escalation.database import reading, transaction
from escalation.people.accounts import add_person, change_person, check_password, find_person, set_password, stored_hash
from escalation.people.rules import OPERATOR, Person, Refusal, RefusalCode, person_key, same_person
from escalation.people.sessions import (
    begin_session,
    blocked_seconds,
    count_attempt,
    find_session,
    form_token,
    load_form_key,
    record_failure,
    record_success,
    shown_at,
    sweep_sessions,
    touch_session,
)
from escalation.tables import events, people, sessions
from schemas.codes import Role
from schemas.errors import ConfigError
from schemas.review_config import SessionConfig
from tests.support.queue_databases import NOON, SECOND
from tests.support.review_cases import ADA, ANNA, PASSWORD, actions, hire, refusal

pytestmark = pytest.mark.databases("sqlite")  # where a test does not name others

MINUTE = 60 * SECOND
CONFIG = SessionConfig()


def fail(connection: sa.Connection, name: str, client: str, now: int, config: SessionConfig) -> None:
    assert count_attempt(connection, name, client, now, config) == 0
    record_failure(connection, name, client, now, config)


def test_a_password_is_stored_as_an_argon2id_hash_and_checked_against_it(queue: sa.Engine) -> None:
    with transaction(queue) as connection:
        add_person(connection, "anna", Role.REVIEWER, PASSWORD, NOON, OPERATOR)
    with reading(queue) as connection:
        hashed = stored_hash(connection, "anna")
    assert hashed is not None
    assert hashed.startswith("$argon2id$")
    assert PASSWORD not in hashed
    assert check_password(hashed, PASSWORD)
    assert not check_password(hashed, PASSWORD + "!")
    assert not check_password(None, PASSWORD)
    assert not check_password(hashed, "x" * 2000)


@pytest.mark.parametrize(
    ("name", "password", "message"),
    [
        ("Anna", PASSWORD, "lower-case"),
        ("a b", PASSWORD, "lower-case"),
        ("", PASSWORD, "name"),
        ("anna", "short", "12"),
    ],
)
def test_a_bad_name_or_a_short_password_is_refused(queue: sa.Engine, name: str, password: str, message: str) -> None:
    with transaction(queue) as connection, pytest.raises(ConfigError, match=message):
        add_person(connection, name, Role.REVIEWER, password, NOON, OPERATOR)


def test_a_name_is_given_once(queue: sa.Engine) -> None:
    hire(queue, ANNA)
    with transaction(queue) as connection, pytest.raises(ConfigError, match="already"):
        add_person(connection, "anna", Role.ADMIN, PASSWORD, NOON, OPERATOR)


def test_a_person_has_one_account_however_the_name_is_written(
    queue: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("escalation.people.accounts._HASHER", cheap)
    one = "kim@example.org"
    with transaction(queue) as connection:
        add_person(connection, one, Role.REVIEWER, PASSWORD, NOON, OPERATOR)
    for written in (
        one,
        "Kim@Example.Org",
        " KIM@EXAMPLE.ORG ",
        "ｋｉｍ@example.org",
        "ki\u00adm@example.org",
        f"{one}\0",
    ):
        assert person_key(written) == one
        with transaction(queue) as connection:
            with pytest.raises(ConfigError, match=r"already|lower-case"):
                add_person(connection, written, Role.ADJUDICATOR, PASSWORD, NOON, OPERATOR)
            assert find_person(connection, written) == Person(written, Role.REVIEWER)
            assert check_password(stored_hash(connection, written), PASSWORD)
            set_password(connection, written, PASSWORD, NOON, OPERATOR)
            change_person(connection, ADA, written, Role.AUDITOR, False, NOON)
            assert find_person(connection, one) is None
            change_person(connection, ADA, written, Role.REVIEWER, True, NOON)
        with refusal(RefusalCode.SAME_PERSON), transaction(queue) as connection:
            change_person(connection, Person(written, Role.ADMIN), one, Role.ADMIN, True, NOON)


@pytest.mark.parametrize("other", ["кim@example.org", "kim@example.com", "k im@example.org", "", "kım@example.org"])
def test_a_name_that_only_looks_alike_is_another_person(other: str) -> None:
    assert not same_person("kim@example.org", other)
    assert not same_person(None, None)


def test_other_ways_to_write_a_name_give_no_further_guesses(queue: sa.Engine) -> None:
    hire(queue, ANNA)
    with transaction(queue) as connection:
        for name in ("anna", "Anna", "ANNA", "ａｎｎａ", " anna "):
            fail(connection, name, "10.0.0.1", NOON, CONFIG)
        assert blocked_seconds(connection, "aNNa", "10.0.0.2", NOON, CONFIG) > 0
        assert [row.actor for row in connection.execute(sa.select(events)).all()][1:6] == ["person:anna"] * 5


@pytest.mark.databases("sqlite", "postgresql")
def test_a_session_ends_when_idle_when_old_and_when_its_account_is_closed(queue: sa.Engine) -> None:
    hire(queue, ANNA, ADA)
    with transaction(queue) as connection:
        token = begin_session(connection, ANNA, NOON, None)
    with reading(queue) as connection:
        found = find_session(connection, token, NOON + 29 * MINUTE, CONFIG)
        assert found is not None
        assert found.stale
        assert find_session(connection, token, NOON + 31 * MINUTE, CONFIG) is None
        assert find_session(connection, "another", NOON, CONFIG) is None
    for at in range(0, 13 * 60, 20):
        with transaction(queue) as connection:
            touch_session(connection, found, NOON + at * MINUTE)
    with reading(queue) as connection:
        assert find_session(connection, token, NOON + 12 * 60 * MINUTE - 1, CONFIG) is not None
        assert find_session(connection, token, NOON + 12 * 60 * MINUTE, CONFIG) is None
    with transaction(queue) as connection:
        change_person(connection, ADA, "anna", Role.REVIEWER, False, NOON)
    with reading(queue) as connection:
        assert find_session(connection, token, NOON + 1, CONFIG) is None
        assert find_person(connection, "anna") is None


def test_the_token_of_a_session_is_not_in_the_database(queue: sa.Engine) -> None:
    hire(queue, ANNA)
    with transaction(queue) as connection:
        token = begin_session(connection, ANNA, NOON, None)
        assert token not in str(connection.execute(sa.select(sessions)).all())


@pytest.mark.databases("sqlite", "postgresql")
def test_sessions_that_are_over_are_swept_away(queue: sa.Engine) -> None:
    hire(queue, ANNA)
    with transaction(queue) as connection:
        begin_session(connection, ANNA, NOON, None)
        begin_session(connection, ANNA, NOON + 31 * MINUTE, None)
        sweep_sessions(connection, NOON + 31 * MINUTE, CONFIG)
        assert connection.scalar(sa.select(sa.func.count()).select_from(sessions)) == 1


def test_a_new_password_ends_every_session(queue: sa.Engine) -> None:
    hire(queue, ANNA, with_password=True)
    with transaction(queue) as connection:
        token = begin_session(connection, ANNA, NOON, None)
        set_password(connection, "anna", "another good password", NOON, OPERATOR)
        assert find_session(connection, token, NOON, CONFIG) is None
        assert check_password(stored_hash(connection, "anna"), "another good password")


def test_only_another_admin_changes_an_account(queue: sa.Engine) -> None:
    hire(queue, ANNA, ADA)
    for person, name, code in ((ANNA, "ada", RefusalCode.ROLE), (ADA, "ada", RefusalCode.SAME_PERSON)):
        with transaction(queue) as connection, pytest.raises(Refusal) as refusal:
            change_person(connection, person, name, Role.ADMIN, True, NOON)
        assert refusal.value.code is code
    with transaction(queue) as connection:
        change_person(connection, ADA, "anna", Role.ADJUDICATOR, True, NOON)
        assert find_person(connection, "anna") == Person("anna", Role.ADJUDICATOR)


@pytest.mark.databases("sqlite", "postgresql")
def test_after_too_many_failures_a_name_is_blocked_until_they_are_old(queue: sa.Engine) -> None:
    hire(queue, ANNA)
    for i in range(5):
        with transaction(queue) as connection:
            assert blocked_seconds(connection, "anna", "10.0.0.1", NOON + i, CONFIG) == 0
            fail(connection, "anna", "10.0.0.1", NOON + i, CONFIG)
    with transaction(queue) as connection:
        block = blocked_seconds(connection, "anna", "10.0.0.2", NOON + 10, CONFIG)
        assert block == 15 * 60
        assert blocked_seconds(connection, "ben", "10.0.0.1", NOON + 10, CONFIG) == 0
        assert blocked_seconds(connection, "anna", "10.0.0.2", NOON + 15 * MINUTE, CONFIG) == 0
    assert actions(queue).count("log_in_failed") == 5
    assert actions(queue).count("log_in_blocked") == 1


def test_an_address_is_blocked_whatever_names_it_tries(queue: sa.Engine) -> None:
    config = SessionConfig(max_client_failures=10)
    for i in range(10):
        with transaction(queue) as connection:
            fail(connection, f"guess{i}", "10.0.0.1", NOON, config)
    with reading(queue) as connection:
        assert blocked_seconds(connection, "anna", "10.0.0.1", NOON, config) > 0
        assert blocked_seconds(connection, "anna", "10.0.0.2", NOON, config) == 0


def test_a_log_in_forgets_the_failures_before_it(queue: sa.Engine) -> None:
    hire(queue, ANNA)
    with transaction(queue) as connection:
        for _ in range(4):
            fail(connection, "anna", "10.0.0.1", NOON, CONFIG)
        assert record_success(connection, "anna", "10.0.0.1", NOON) == ANNA
        fail(connection, "anna", "10.0.0.1", NOON, CONFIG)
        assert blocked_seconds(connection, "anna", "10.0.0.1", NOON, CONFIG) == 0


def test_what_was_typed_as_an_unknown_name_is_nowhere_in_the_database(queue: sa.Engine) -> None:
    with transaction(queue) as connection:
        fail(connection, "my secret password", "10.0.0.1", NOON, CONFIG)
        rows = connection.execute(sa.text("SELECT * FROM log_in_failures")).all()
        trail = connection.execute(sa.select(events)).all()
    assert "my secret" not in str(rows) + str(trail)
    assert trail[0].actor == "unknown"


def test_accounts_are_never_deleted(queue: sa.Engine) -> None:
    hire(queue, ANNA, ADA)
    with transaction(queue) as connection:
        change_person(connection, ADA, "anna", Role.REVIEWER, False, NOON)
        assert set(connection.scalars(sa.select(people.c.name))) == {"anna", "ada"}


@pytest.mark.databases("sqlite", "postgresql")
def test_many_guesses_at_once_get_no_more_tries_than_one_by_one(queue: sa.Engine) -> None:
    hire(queue, ANNA)

    def attempt(_: int) -> bool:
        with transaction(queue) as connection:
            return count_attempt(connection, "anna", "10.0.0.1", NOON, CONFIG) == 0

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(30))) == CONFIG.max_failures


@pytest.mark.databases("sqlite", "postgresql")
def test_a_token_of_a_form_is_of_one_person_and_of_one_time(queue: sa.Engine) -> None:
    key = load_form_key(queue)
    assert load_form_key(queue) == key
    token = form_token(key, "anna", NOON)
    assert shown_at(key, "anna", token) == NOON
    at, _, seal = token.partition(".")
    later = f"{int(at) + 1}.{seal}"
    for made_up in ("", ".", token + "0", later, f"{at}.", f"{at}.é", f"é.{seal}", f"-{token}", token.upper()):
        assert shown_at(key, "anna", made_up) is None
    assert shown_at(key, "ben", token) is None
    assert shown_at(b"another key", "anna", token) is None
