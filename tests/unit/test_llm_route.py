"""Real routes of requests: direct, or by a proxy of the environment; requests to this machine never use a proxy."""

from __future__ import annotations

import pytest

from escalation.llm.endpoint import Endpoint, is_loopback, route_to
from schemas.errors import ConfigError

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.8.7", "127.1", "0x7f.1", "2130706433"),
        *("0.0.0.0", "0", "::1", "::", "::ffff:127.0.0.1"),
    ],
)
def test_this_machine_is_asked_directly_whatever_the_proxies(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_loopback(host)
    for name in ("HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "socks://127.0.0.1:1080/")
    named = f"[{host}]" if ":" in host else host
    route = route_to(f"http://{named}:8000/v1")
    assert (route.proxy, str(route)) == ("", f"{named}:8000")


@pytest.mark.parametrize(
    "host", ["llm.example", "128.0.0.1", "128.1", "127.example", "localhost.example", "::2", "notlocalhost"]
)
def test_another_machine_is_not_this_one(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_is_used_and_named_without_its_password(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://other.example:1")
    monkeypatch.setenv(name, "http://user:swordfish@proxy.example:3128")
    route = route_to("https://llm.example/v1")
    assert route.proxy == "http://user:swordfish@proxy.example:3128"
    assert str(route) == "llm.example by the proxy proxy.example:3128"
    assert route.host == "llm.example"


HOST = "llm.example:443"
NAMED = ("*", "llm.example", ".example", "a, LLM.example:443 ,[::1]", "*.example")
OTHERS = ("127.0.0.1,[::1]", "m.example", "llm.example:8443", "10.0.0.0/8", ",,", "[")


@pytest.mark.parametrize(
    ("host", "listed", "direct"),
    [
        *((HOST, listed, True) for listed in NAMED),
        *((HOST, listed, False) for listed in OTHERS),
        *(("10.1.2.3", "10.0.0.0/8", True), ("[fd00::1]", "[fd00::1]", True), ("10.1.2.3", "10.1.2.3", True)),
        *(("10.1.2.3", listed, False) for listed in ("11.0.0.0/8", "2.3", ".3", "a.example")),
    ],
)
def test_no_proxy_names_hosts_domains_ports_addresses_and_networks(
    host: str, listed: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", listed)
    assert route_to(f"https://{host}/v1").proxy == ("" if direct else "http://proxy.example:3128")


@pytest.mark.parametrize(
    "value", ["socks://127.0.0.1:1080/", "socks5://p:1", "http://[::1", "http://", "ftp://p", "http://p:x"]
)
def test_a_proxy_that_cannot_be_used_is_a_mistake_of_the_configuration(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(ConfigError, match="ALL_PROXY"):
        route_to("https://llm.example/v1")


@pytest.mark.parametrize("url", ["http://[::1/v1", "http://x:99999/v1", "https://\u2024\u2024/v1"])
def test_a_url_that_cannot_be_one_is_a_mistake_of_the_configuration(url: str) -> None:
    with pytest.raises(ConfigError):
        Endpoint(url, "", 1.0)


def test_a_missing_file_of_certificates_is_a_mistake_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
    with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        Endpoint("https://llm.example/v1", "", 1.0)
