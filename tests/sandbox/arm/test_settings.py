import base64

import yaml
from cloud import CLIENT, SECRET, Cloud, body


def test_settings_omit_the_time_to_wait_shorten_tokens_and_open_private_clusters(tmp_path):
    cloud = Cloud(tmp_path)
    cloud.env |= {"SANDBOX_RETRY_AFTER": "0", "SANDBOX_TOKEN_SECONDS": "45", "SANDBOX_PRIVATE_REACHABLE": "1"}
    cloud.start()
    try:
        answer = cloud.ask("PUT", cloud.cluster("one"), body(1, apiServerAccessProfile={"enablePrivateCluster": True}))
        assert "Retry-After" not in answer.headers
        assert "Retry-After" not in cloud.ask("GET", answer.headers["Azure-AsyncOperation"]).headers
        cloud.principal()
        assert cloud.token(client_id=CLIENT, client_secret=SECRET).json()["expires_in"] == 45
        assert cloud.wait(answer)["status"] == "Succeeded"
        value = cloud.ask("POST", cloud.cluster("one/listClusterUserCredential")).json()["kubeconfigs"][0]["value"]
        config = yaml.safe_load(base64.b64decode(value))
        headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
        url = config["clusters"][0]["cluster"]["server"] + "/version"
        assert cloud.session.get(url, headers=headers, verify=str(tmp_path / "ca.pem"), timeout=10).status_code == 200
    finally:
        cloud.stop()


def test_principals_faults_and_networks_survive_a_kill(cloud):
    token = cloud.principal({"scope": "/", "role": "Reader"})
    cloud.fault("arm.throttle", access="write")
    cloud.admin("PUT", "arm/networks/rg/net", {
        "location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.1.0.0/16"]}},
    })  # fmt: skip
    cloud.stop(9)
    cloud.start()
    assert cloud.ask("GET", cloud.cluster(), token=token).status_code == 200
    assert cloud.ask("PUT", cloud.cluster("one"), body(1)).status_code == 429
    net = cloud.cluster().partition("/providers/")[0] + "/providers/Microsoft.Network/virtualNetworks/net"
    assert cloud.ask("GET", net, token=token).status_code == 200
