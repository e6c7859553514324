"""Where the portal may connect."""

from __future__ import annotations

import socket

import pytest

from portal import outbound
from portal.problems import Retryable


@pytest.fixture(autouse=True)
def _closed(settings):
    settings.OUTBOUND_ALLOW = []


@pytest.fixture
def names(monkeypatch):
    """Resolve names from a table instead of the network."""
    table: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look(host, port, *args, **kwargs):
        if host not in table:
            return real(host, port, *args, **kwargs)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in table[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look)
    return table


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "[::1]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
        "2130706433", "localhost", "168.63.129.16",
    ],
)  # fmt: skip
def test_loopback_private_link_local_and_metadata_addresses_are_refused(host):
    with pytest.raises((outbound.AddressRefused, Retryable)):
        outbound.place(f"https://{host}/")


def test_a_public_address_passes_and_the_connection_goes_to_the_address_that_was_checked(names):
    names["api.example.com"] = ["93.184.216.34"]
    place = outbound.place("https://api.example.com:6443/base/")
    assert (place.host, place.ip, place.port) == ("api.example.com", "93.184.216.34", 6443)
    assert place.pinned_url == "https://93.184.216.34:6443/base"
    assert place.origin == "https://api.example.com:6443"


def test_a_name_with_one_inner_address_among_public_ones_is_refused(names):
    names["mixed.example.com"] = ["93.184.216.34", "10.0.0.1"]
    with pytest.raises(outbound.AddressRefused, match=r"10\.0\.0\.1"):
        outbound.place("https://mixed.example.com/")


@pytest.mark.parametrize(
    "url", ["ftp://x/", "file:///etc/passwd", "https://", "https://u:p@93.184.216.34/", "https://h:x/", "nonsense"]
)
def test_what_is_no_plain_https_address_is_refused(url):
    with pytest.raises(outbound.AddressRefused):
        outbound.place(url)


def test_http_is_refused_but_towards_an_allowed_loopback_address(settings):
    with pytest.raises(outbound.AddressRefused, match="https"):
        outbound.place("http://93.184.216.34/")
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    assert outbound.place("http://127.0.0.1:9/").is_loopback
    with pytest.raises(outbound.AddressRefused):
        outbound.place("http://127.0.0.2:9/")


def test_a_name_that_does_not_resolve_now_may_be_tried_again(names, monkeypatch):
    def fail(*args, **kwargs):
        raise socket.gaierror(-2, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(Retryable):
        outbound.place("https://gone.example.com/")


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://a.example.com/x?y", True), ("https://a.example.com:443/x", True), ("HTTPS://A.example.com/", True),
        ("http://a.example.com/", False), ("https://b.example.com/", False), ("https://a.example.com:444/", False),
        ("https://a.example.com@b.example.com/", False),
    ],
)  # fmt: skip
def test_an_origin_is_scheme_host_and_port(url, same):
    assert outbound.same_origin(url, "https://a.example.com") is same
