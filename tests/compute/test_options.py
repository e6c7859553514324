"""Names and customisation of clusters."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from compute import certificates, edge, options


@pytest.mark.parametrize("name", ["abc", "A-1", "a" * 24, "prod-1-"])
def test_names_of_3_to_24_letters_digits_and_dashes_pass(name):
    options.check_name(name)


@pytest.mark.parametrize("name", ["", "ab", "a" * 25, "1abc", "-abc", "a_bc", "a bc", "äbc", "abc\n"])
def test_other_names_are_refused_with_the_rule(name):
    with pytest.raises(options.BadName, match="3 to 24"):
        options.check_name(name)


def test_a_basic_load_balancer_becomes_a_standard_one_with_a_warning():
    checked = options.parse({"load_balancer": {"sku": "Basic"}})
    assert checked.values == {}
    assert "retired" in checked.warnings[0]


def test_an_internal_load_balancer_may_name_its_subnet_and_a_public_one_not():
    assert options.parse({"load_balancer": {"internal": True, "subnet": "s"}}).values["load_balancer"] == {
        "internal": True, "subnet": "s",
    }  # fmt: skip
    with pytest.raises(options.BadOption, match="internal"):
        options.parse({"load_balancer": {"subnet": "s"}})


def test_docker_bridge_cidr_is_accepted_with_a_warning_and_dropped():
    checked = options.parse({"docker_bridge_cidr": "172.17.0.1/16"})
    assert checked.values == {}
    assert "docker_bridge_cidr" in checked.warnings[0]


def test_the_dns_address_has_to_lie_in_the_service_range():
    good = options.parse({"service_cidr": "10.1.0.0/16", "dns_service_ip": "10.1.0.10"})
    assert good.values == {"service_cidr": "10.1.0.0/16", "dns_service_ip": "10.1.0.10"}
    with pytest.raises(options.BadOption, match="10.1.0.0/16"):
        options.parse({"service_cidr": "10.1.0.0/16", "dns_service_ip": "10.2.0.10"})


def test_a_vnet_by_names_becomes_the_subnet_id():
    vnet = {"subscription_id": "s", "resource_group": "g", "name": "v", "subnet": "n"}
    assert options.parse({"vnet": vnet}).values["subnet_id"].endswith("/virtualNetworks/v/subnets/n")


@pytest.mark.parametrize(
    "given",
    [
        {"nonsense": 1}, {"subnet_id": "x"}, {"vnet": {"name": "v"}}, {"service_cidr": "x"}, {"dns_service_ip": "x"},
        {"load_balancer": {"sku": "gold"}}, {"load_balancer": {"colour": 1}}, {"load_balancer": {"internal": "no"}},
        {"authorized_ip_ranges": ["x"]}, {"zones": ["4"]}, {"zones": "1"}, {"identity": "x"}, {"os_disk_gb": 29},
        {"os_disk_gb": 4096}, {"os_disk_gb": "many"}, {"network_mode": "flat"}, {"network_mode": "bridge"},
        {"load_balancer": {"type": "Round"}}, {"load_balancer": {"type": "PublicIp", "internal": True}},
        {"authorized_ip_ranges": ["1.2.3.0/24"] * 201}, {"private_cluster": True, "authorized_ip_ranges": ["1.2.3.4"]},
        {"autoscaler": {"min_count": 3, "max_count": 2}}, {"autoscaler": {"min_count": 1}}, {"tls": {"cname": "x"}},
        {"tls": {"leaf_domain": "-"}}, {"tls": {"certificate": "c"}}, {"tls": {"colour": "c"}},
        {"tls": {"certificate": "c", "key": "k", "cname": "a.example.com"}},
    ],
)  # fmt: skip
def test_settings_against_a_rule_are_refused(given):
    with pytest.raises((options.BadOption, certificates.BadCertificate)):
        options.parse(given)


def test_the_dns_address_is_the_tenth_of_a_given_service_range():
    assert options.parse({"service_cidr": "10.9.0.0/16"}).values["dns_service_ip"] == "10.9.0.10"


def test_load_balancer_types_of_older_callers_are_understood():
    wanted = {"type": "InternalLoadBalancer", "subnet": "models", "sku": "Basic"}
    checked = options.parse({"load_balancer": wanted})
    assert checked.values["load_balancer"] == {"internal": True, "subnet": "models"}
    assert options.parse({"load_balancer": {"type": "PublicIp"}}).values == {}


@pytest.mark.parametrize("tags", [{"a/b": "c"}, {"": "c"}, {"a": "x" * 257}, {str(n): "" for n in range(50)}])
def test_tags_that_azure_would_not_take_are_refused(tags):
    with pytest.raises(options.BadOption, match="Azure takes|needs 1 to"):
        options.check_tags(tags)


def _pair(name="score.example.com"):
    return certificates.make([name], datetime.now(UTC))


def test_an_own_certificate_needs_its_key_and_the_key_stays_out_of_the_stored_settings():
    certificate, key = _pair()
    checked = options.parse({"tls": {"certificate": certificate, "key": key, "cname": "score.example.com"}})
    assert checked.values["tls"] == {"mode": "own", "cname": "score.example.com", "leaf_domain": ""}
    assert (checked.tls_certificate, checked.tls_key) == (certificate, key)
    assert "PRIVATE" not in repr(checked)
    with pytest.raises(certificates.BadCertificate, match="does not belong"):
        options.parse({"tls": {"certificate": certificate, "key": _pair()[1], "cname": "score.example.com"}})
    with pytest.raises(certificates.BadCertificate, match=r"is for score\.example\.com; clients call other\.example"):
        options.parse({"tls": {"certificate": certificate, "key": key, "cname": "other.example.com"}})


def test_a_public_load_balancer_may_have_a_label_and_a_fixed_address():
    given = {"dns_label": "scores", "ip_name": "scores-ip", "ip_resource_group": "network"}
    values = options.parse({"load_balancer": given}).values
    assert values["load_balancer"] == given
    assert edge.host(values, "westeurope") == "scores.westeurope.cloudapp.azure.com"
    assert edge.host(values, "usgovvirginia") == "scores.usgovvirginia.cloudapp.usgovcloudapi.net"
    assert options.parse({"load_balancer": {"ip": "20.1.2.3"}}).values["load_balancer"] == {"ip": "20.1.2.3"}
    inside = options.parse({"load_balancer": {"internal": True, "ip": "10.1.2.3"}}).values
    assert inside["load_balancer"] == {"internal": True, "subnet": "", "ip": "10.1.2.3"}


def test_a_leaf_domain_is_the_label_of_the_load_balancer_and_a_cname_wins_as_the_name():
    values = options.parse({"tls": {"leaf_domain": "scores"}}).values
    assert values["load_balancer"] == {"dns_label": "scores"}
    assert edge.host(values, "westeurope") == "scores.westeurope.cloudapp.azure.com"
    both = options.parse({"tls": {"cname": "score.example.com"}, "load_balancer": {"dns_label": "scores"}}).values
    assert edge.host(both, "westeurope") == "score.example.com"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dns_label": "a"}, "3 to 63"),
        ({"dns_label": "Scores"}, "lower-case"),
        ({"dns_label": "9scores"}, "begins with a letter"),
        ({"dns_label": "scores-"}, "end with"),
        ({"dns_label": 7}, "3 to 63"),
        ({"dns_label": "s" * 64}, "3 to 63"),
        ({"ip": "300.1.1.1"}, "not an IPv4 address"),
        ({"ip": "::1"}, "not an IPv4 address"),
        ({"ip": "10.1.2.3"}, "is private"),
        ({"ip": "20.1.2.3", "ip_name": "x"}, "not by both"),
        ({"ip_name": "-x"}, "not the name"),
        ({"ip_name": "x/../y"}, "not the name"),
        ({"ip_resource_group": "rg"}, "give one of them"),
        ({"ip_name": "x", "ip_resource_group": "a/b"}, "not a resource group"),
        ({"internal": True, "dns_label": "scores"}, "is for a public address"),
        ({"internal": True, "ip_name": "x"}, "is for a public address"),
    ],
)
def test_a_load_balancer_that_azure_would_refuse_is_refused_with_what_would_pass(given, words):
    with pytest.raises(options.BadOption, match=words):
        options.parse({"load_balancer": given})


def test_a_leaf_domain_does_not_go_with_an_internal_balancer_or_another_label():
    with pytest.raises(options.BadOption, match="public address"):
        options.parse({"tls": {"leaf_domain": "scores"}, "load_balancer": {"internal": True}})
    with pytest.raises(options.BadOption, match="give one"):
        options.parse({"tls": {"leaf_domain": "scores"}, "load_balancer": {"dns_label": "other"}})


def test_an_attach_takes_load_balancer_and_tls_only():
    given = {"load_balancer": {"dns_label": "scores"}, "tls": {"cname": "score.example.com"}}
    assert set(options.parse(given, options.ATTACHED).values) == {"load_balancer", "tls"}
    with pytest.raises(options.BadOption, match="Known: load_balancer, tls"):
        options.parse({"zones": ["1"]}, options.ATTACHED)


def test_a_cluster_id_is_read_in_any_letter_case():
    text = "/subscriptions/S/resourcegroups/G/providers/microsoft.containerservice/ManagedClusters/N"
    assert options.parse_cluster_id(text) == ("S", "G", "N")
    with pytest.raises(options.BadOption, match="looks like"):
        options.parse_cluster_id("/subscriptions/S")


def test_a_kubernetes_version_that_aks_does_not_offer_is_refused_with_those_it_does():
    options.check_supported("1.33.6", ["1.32", "1.33"])
    options.check_supported("", ["1.33"])
    with pytest.raises(options.BadOption, match=r"1\.20.*1\.32, 1\.33"):
        options.check_supported("1.20", ["1.32", "1.33"])
    with pytest.raises(options.BadOption, match="Write 1.33"):
        options.check_version("latest")
