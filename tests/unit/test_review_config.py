from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigError
from schemas.review_config import ReviewConfig, load_review_config


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "review.toml"
    path.write_text("warehouse = 'a'\n[server]\nport = 9000\nallowed_hosts = ['review.example']\n")
    config = load_review_config(path, host=None, port=0, warehouse="b", database=None)
    assert (config.warehouse, config.server.port, config.server.host) == ("b", 0, "127.0.0.1")
    assert config.server.allowed_hosts == ("review.example",)
    assert load_review_config(None) == ReviewConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = 'red'", "unknown key 'colour'"),
        ("[server]\ncolour = 'red'", "unknown key 'server.colour'"),
        ("[server]\nport = 70000", "server.port"),
        ("[server]\nport = '80'", "expected int"),
        ("[server]\nhost = '0.0.0.0'", "https"),
        ("[server]\nallowed_hosts = ['*']", "allowed_hosts"),
        ("[server]\nallowed_hosts = []", "allowed_hosts"),
        ("[sessions]\nmax_failures = 0", "sessions.max_failures"),
        ("[sessions]\nidle_minutes = 0", "sessions.idle_minutes"),
        ("[four_eyes]\nshare = 1.5", "four_eyes.share"),
        ("[due]\nhours = 0", "due.hours"),
        ("[due]\nnotify_url = 'http://198.51.100.1/'", "notify_url"),
        ("[due]\nnotify_url = 'http://[x'", "due.notify_url: expected an http:// address on this machine"),
        ("warehouse = ''", "warehouse"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "review.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_review_config(path)


def test_other_machines_may_reach_the_pages_through_https(tmp_path: Path) -> None:
    path = tmp_path / "review.toml"
    path.write_text("[server]\nhost = '0.0.0.0'\nhttps = true\n")
    assert load_review_config(path).server.https
