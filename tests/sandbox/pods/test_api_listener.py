"""The API as pods reach it: a root path of its own, verified by the pod's ca.crt."""

import json

from aiohttp import web
from podworld import CLUSTER, World, container, pod, until

CODE = """
import json, os, ssl, time, urllib.request
base = "https://" + os.environ["KUBERNETES_SERVICE_HOST"] + ":" + os.environ["KUBERNETES_SERVICE_PORT"]
request = urllib.request.Request(base + "/api/v1/namespaces?limit=1")
request.add_header("Authorization", "Bearer " + open("account/token").read())
context = ssl.create_default_context(cafile="account/ca.crt")
print(urllib.request.urlopen(request, context=context, timeout=5).read().decode(), flush=True)
"""


async def test_a_pod_reaches_the_api_at_the_root_path_with_its_token_and_certificates(world: World) -> None:
    async def echo(request: web.Request) -> web.Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        user = world.clusters.token_user(request.match_info["cluster"], token)
        return web.json_response({"cluster": request.match_info["cluster"], "rest": request.match_info["rest"],
                                  "user": user.name, "query": dict(request.query)})  # fmt: skip

    world.kubelet.api.serve([web.get("/clusters/{cluster}/{rest:.*}", echo)])
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]
    main = container(CODE, volumeMounts=[{"name": "v", "mountPath": "/srv/app/account"}])
    volumes = [{"name": "v", "projected": {"sources": sources}}]
    world.make("pods", pod("caller", main, volumes=volumes, restartPolicy="Never"))
    await until(lambda: world.get("pods", "caller")["status"]["phase"] in ("Succeeded", "Failed"))
    said = json.loads(await world.log("caller"))
    assert said == {"cluster": CLUSTER, "rest": "api/v1/namespaces", "query": {"limit": "1"},
                    "user": "system:serviceaccount:default:default"}  # fmt: skip
