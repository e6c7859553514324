"""Deployments: one ReplicaSet per pod template, old ones made smaller as the new one becomes available."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compute.sandbox.controllers import rollout
from compute.sandbox.controllers.base import Controller, Doc, Key, condition, controller_of, is_over, owner_reference
from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.times import stamp

_PREFIX = "deployment.kubernetes.io/"
_REVISION, _DESIRED, _MOST = f"{_PREFIX}revision", f"{_PREFIX}desired-replicas", f"{_PREFIX}max-replicas"
_NOT_COPIED = (
    "kubectl.kubernetes.io/last-applied-configuration", "deprecated.deployment.rollback.to", _REVISION, _DESIRED, _MOST,
    f"{_PREFIX}revision-history",
)  # fmt: skip


class Deployments(Controller):
    """Rolls out, scales, records revisions and says how far it is."""

    resource = "deployments"
    component = "deployment-controller"

    def keys(self, type_: str, cluster: str, resource: str, obj: Doc) -> Iterable[Key]:
        """The deployment itself, or the one that owns a changed set or a pod that went."""
        namespace = obj["metadata"].get("namespace") or ""
        if resource == "replicasets":
            owner = controller_of(obj, "Deployment")
            return [Key(cluster, namespace, owner["name"])] if owner else []
        if resource == "pods" and type_ == "DELETED":
            return self._owner_of_pod(cluster, namespace, obj)
        return super().keys(type_, cluster, resource, obj)

    def _owner_of_pod(self, cluster: str, namespace: str, pod: Doc) -> Iterable[Key]:
        owner = controller_of(pod, "ReplicaSet")
        found = self.store.get(cluster, "replicasets", namespace, owner["name"]) if owner else None
        above = controller_of(found, "Deployment") if found else None
        return [Key(cluster, namespace, above["name"])] if above else []

    def reconcile(self, key: Key) -> float | None:
        """One step of a rollout or a scaling, then the status."""
        deployment = self.store.get(key.cluster, "deployments", key.namespace, key.name)
        if deployment is None:
            return None
        sets = self._sets(key.cluster, deployment)
        new = next((item for item in sets if rollout.same_template(deployment, item)), None)
        if deployment["metadata"].get("deletionTimestamp"):
            return self._write_status(key.cluster, deployment, new, sets)
        if any((s.get("status") or {}).get("observedGeneration") != s["metadata"]["generation"] for s in sets):
            # Its numbers belong to an earlier spec; the set's controller is about to write them.
            return self._write_status(key.cluster, deployment, new, sets)
        self._act(key.cluster, deployment, new, sets)
        deployment = self.store.get(key.cluster, "deployments", key.namespace, key.name) or deployment
        sets = self._sets(key.cluster, deployment)
        new = next((item for item in sets if rollout.same_template(deployment, item)), None)
        return self._write_status(key.cluster, deployment, new, sets)

    def _act(self, cluster: str, deployment: Doc, new: Doc | None, sets: list[Doc]) -> None:
        olds = [item for item in sets if item is not new]
        if deployment["spec"].get("paused"):
            self._scale_all(cluster, deployment, new, sets)
        elif self._was_scaled(deployment, sets):
            self._keep_revision(cluster, deployment, new, olds)
            self._scale_all(cluster, deployment, new, sets)
        elif rollout.is_rolling(deployment):
            self._roll(cluster, deployment, self._new_set(cluster, deployment, new, olds), olds)
        else:
            self._recreate(cluster, deployment, new, olds)
        if not deployment["spec"].get("paused"):
            self._forget_old(cluster, deployment)

    # --- the sets

    def _sets(self, cluster: str, deployment: Doc) -> list[Doc]:
        uid = deployment["metadata"]["uid"]

        def mine(item: Doc) -> bool:
            owner = controller_of(item, "Deployment")
            return owner is not None and owner["uid"] == uid

        found = self.store.list(cluster, "replicasets", deployment["metadata"]["namespace"], mine)
        return sorted(found, key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]))

    def _new_set(self, cluster: str, deployment: Doc, new: Doc | None, olds: list[Doc]) -> Doc:
        if new is not None:
            return self._keep_revision(cluster, deployment, new, olds) or new
        made = self.store.create(cluster, "replicasets", self._set_object(deployment, olds))
        name, size = made["metadata"]["name"], rollout.replicas(made)
        if size:
            text = f"Scaled up replica set {name} from 0 to {size}"
            self.event(cluster, deployment, "Normal", "ScalingReplicaSet", text)
        self._mark(cluster, deployment, made["metadata"]["annotations"][_REVISION],
                   ("NewReplicaSetCreated", f'Created new replica set "{name}"'))  # fmt: skip
        return made

    def _set_object(self, deployment: Doc, olds: list[Doc]) -> Doc:
        spec, meta = deployment["spec"], deployment["metadata"]
        collisions = (deployment.get("status") or {}).get("collisionCount", 0)
        short = rollout.template_hash(spec["template"], collisions)
        template, selector = clone(spec["template"]), clone(spec["selector"])
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        labels[rollout.HASH_LABEL] = short
        selector.setdefault("matchLabels", {})[rollout.HASH_LABEL] = short
        annotations = self._annotations(deployment) | {_REVISION: str(_newest(olds) + 1)}
        made: Doc = {
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": f"{meta['name']}-{short}", "namespace": meta["namespace"], "labels": dict(labels),
                "annotations": annotations, "ownerReferences": [owner_reference(deployment)],
            },
            "spec": {
                "replicas": rollout.new_size(deployment, None, olds), "selector": selector, "template": template,
                **({"minReadySeconds": spec["minReadySeconds"]} if spec.get("minReadySeconds") else {}),
            },
            "status": {"replicas": 0},
        }  # fmt: skip
        return made

    def _annotations(self, deployment: Doc) -> dict[str, str]:
        own = deployment["metadata"].get("annotations") or {}
        wanted = rollout.replicas(deployment)
        return {
            **{name: value for name, value in own.items() if name not in _NOT_COPIED},
            _DESIRED: str(wanted), _MOST: str(wanted + rollout.bounds(deployment)[0]),
        }  # fmt: skip

    def _keep_revision(self, cluster: str, deployment: Doc, new: Doc | None, olds: list[Doc]) -> Doc | None:
        """The newest template has the newest revision, also when it is an old one come back."""
        if new is None:
            return None
        revision = str(max(_newest(olds) + 1, _revision(new)))

        def edit(doc: Doc) -> None:
            annotations = doc["metadata"].setdefault("annotations", {})
            annotations |= {
                **self._annotations(deployment),
                _REVISION: revision,
                _DESIRED: annotations.get(_DESIRED, ""),
            }
            if deployment["spec"].get("minReadySeconds"):
                doc["spec"]["minReadySeconds"] = deployment["spec"]["minReadySeconds"]

        came_back = _revision(new) != int(revision)
        name = new["metadata"]["name"]
        stored = self.store.mutate(cluster, "replicasets", deployment["metadata"]["namespace"], name, edit)
        note = ("FoundNewReplicaSet", f'Found new replica set "{name}"')
        known = condition(deployment, "Progressing")
        self._mark(cluster, deployment, revision, note if came_back or known is None else None)
        return stored

    def _mark(self, cluster: str, deployment: Doc, revision: str, note: tuple[str, str] | None) -> None:
        meta = deployment["metadata"]
        if (meta.get("annotations") or {}).get(_REVISION) == revision and note is None:
            return
        current = self.store.get(cluster, "deployments", meta["namespace"], meta["name"])
        if current is None:
            return
        marked = clone(current)
        marked["metadata"].setdefault("annotations", {})[_REVISION] = revision
        if note is not None:
            _set_condition(marked, "Progressing", "True", note[0], note[1], stamp(self.clock.now()))
        # Like a real controller, which writes it with the status: a revision is no new generation.
        self.store.write_deleting(cluster, "deployments", current, marked)

    def _resize(self, cluster: str, deployment: Doc, item: Doc, size: int) -> None:
        before, name = rollout.replicas(item), item["metadata"]["name"]
        annotations = self._annotations(deployment)

        def edit(doc: Doc) -> None:
            doc["spec"]["replicas"] = size
            doc["metadata"].setdefault("annotations", {}).update({n: annotations[n] for n in (_DESIRED, _MOST)})

        self.store.mutate(cluster, "replicasets", item["metadata"]["namespace"], name, edit)
        item["spec"]["replicas"] = size
        if before != size:
            way = "up" if size > before else "down"
            text = f"Scaled {way} replica set {name} from {before} to {size}"
            self.event(cluster, deployment, "Normal", "ScalingReplicaSet", text)

    def _forget_old(self, cluster: str, deployment: Doc) -> None:
        kept = int(deployment["spec"].get("revisionHistoryLimit", 10))
        sets = [item for item in self._sets(cluster, deployment) if not rollout.same_template(deployment, item)]
        idle = [s for s in sets if not rollout.replicas(s) and not (s.get("status") or {}).get("replicas")]
        for item in sorted(idle, key=_revision)[: max(len(idle) - kept, 0)]:
            self.store.delete(cluster, "replicasets", item["metadata"]["namespace"], item["metadata"]["name"])

    # --- strategies

    def _roll(self, cluster: str, deployment: Doc, new: Doc, olds: list[Doc]) -> None:
        size = rollout.new_size(deployment, new, [*olds, new])
        if size != rollout.replicas(new):
            self._resize(cluster, deployment, new, size)
            return
        for name, smaller in rollout.old_sizes(deployment, new, olds).items():
            item = next(item for item in olds if item["metadata"]["name"] == name)
            self._resize(cluster, deployment, item, smaller)

    def _recreate(self, cluster: str, deployment: Doc, new: Doc | None, olds: list[Doc]) -> None:
        for item in olds:
            if rollout.replicas(item):
                self._resize(cluster, deployment, item, 0)
        if self._old_pods(cluster, olds):
            return
        made = self._new_set(cluster, deployment, new, olds)
        if rollout.replicas(made) != rollout.replicas(deployment):
            self._resize(cluster, deployment, made, rollout.replicas(deployment))

    def _old_pods(self, cluster: str, olds: list[Doc]) -> bool:
        uids = {item["metadata"]["uid"] for item in olds}

        def old(pod: Doc) -> bool:
            owner = controller_of(pod, "ReplicaSet")
            return owner is not None and owner["uid"] in uids and not is_over(pod)

        return bool(olds) and bool(self.store.list(cluster, "pods", olds[0]["metadata"]["namespace"], old))

    def _was_scaled(self, deployment: Doc, sets: list[Doc]) -> bool:
        wanted = str(rollout.replicas(deployment))
        active = [item for item in sets if rollout.replicas(item)]
        return any((item["metadata"].get("annotations") or {}).get(_DESIRED) != wanted for item in active)

    def _scale_all(self, cluster: str, deployment: Doc, new: Doc | None, sets: list[Doc]) -> None:
        active = [item for item in sets if rollout.replicas(item)]
        if len(active) <= 1:
            only = active[0] if active else new
            if only is not None:
                self._resize(cluster, deployment, only, rollout.replicas(deployment))
            return
        if not rollout.is_rolling(deployment):
            return
        for name, size in rollout.proportional(deployment, active).items():
            item = next(item for item in active if item["metadata"]["name"] == name)
            self._resize(cluster, deployment, item, size)

    # --- status

    def _write_status(self, cluster: str, deployment: Doc, new: Doc | None, sets: list[Doc]) -> float | None:
        numbers = rollout.status(deployment, new, sets)
        now = stamp(self.clock.now())

        def edit(doc: Doc) -> None:
            before = doc.get("status") or {}
            conditions = clone(before.get("conditions") or [])
            doc["status"] = {**numbers, **({"conditions": conditions} if conditions else {})}
            self._availability(doc, numbers, now)
            self._progress(doc, before, numbers, new, now)
            self._failures(doc, [*([new] if new else []), *sets], now)

        meta = deployment["metadata"]
        stored = self.store.mutate(cluster, "deployments", meta["namespace"], meta["name"], edit, subresource="status")
        due = rollout.deadline(stored) if stored else None
        progressing = condition(stored, "Progressing") if stored else None
        if due is None or progressing is None or progressing["status"] == "False":
            return None
        return float(max((due - self.clock.now()).total_seconds(), 0.05))

    def _availability(self, doc: Doc, numbers: Doc, now: str) -> None:
        least = rollout.replicas(doc) - rollout.bounds(doc)[1]
        if numbers.get("availableReplicas", 0) >= least:
            words = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        else:
            words = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        _set_condition(doc, "Available", *words, now)

    def _progress(self, doc: Doc, before: Doc, numbers: Doc, new: Doc | None, now: str) -> None:
        known = condition(doc, "Progressing")
        if self._paused(doc, known, now) or doc["spec"].get("progressDeadlineSeconds") is None:
            return
        done_before = known is not None and known["reason"] == "NewReplicaSetAvailable"
        if done_before and numbers.get("replicas", 0) == numbers.get("updatedReplicas", 0):
            return
        name = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{doc["metadata"]["name"]}"'
        due = rollout.deadline(doc)
        if new is not None and rollout.is_complete(doc, numbers):
            words = ("True", "NewReplicaSetAvailable", f"{name} has successfully progressed.")
        elif rollout.has_progressed(before, numbers):
            words = ("True", "ReplicaSetUpdated", f"{name} is progressing.")
        elif due is not None and self.clock.now() >= due:
            words = ("False", "ProgressDeadlineExceeded", f"{name} has timed out progressing.")
        else:
            return
        _set_condition(doc, "Progressing", *words, now)

    def _paused(self, doc: Doc, known: Doc | None, now: str) -> bool:
        if doc["spec"].get("paused"):
            _set_condition(doc, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
            return True
        if known is not None and known["reason"] == "DeploymentPaused":
            _set_condition(doc, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
            return True
        return False

    def _failures(self, doc: Doc, sets: list[Doc], now: str) -> None:
        failed = next((row for row in (condition(item, "ReplicaFailure") for item in sets) if row), None)
        if failed is not None:
            _set_condition(doc, "ReplicaFailure", "True", failed["reason"], failed["message"], now)
            return
        rows = doc["status"].get("conditions") or []
        doc["status"]["conditions"] = [row for row in rows if row["type"] != "ReplicaFailure"]


def _revision(item: Doc) -> int:
    return int((item["metadata"].get("annotations") or {}).get(_REVISION) or 0)


def _newest(sets: list[Doc]) -> int:
    return max((_revision(item) for item in sets), default=0)


def _set_condition(doc: Doc, kind: str, value: str, reason: str, message: str, now: str) -> None:
    """Set a condition; its times move only when it says something new (progress is always new)."""
    status = doc.setdefault("status", {})
    rows: list[Any] = status.get("conditions") or []
    before = next((row for row in rows if row["type"] == kind), None)
    same = before is not None and (before["status"], before["reason"]) == (value, reason)
    if same and reason != "ReplicaSetUpdated":
        return
    since = before["lastTransitionTime"] if before is not None and before["status"] == value else now
    row = {"type": kind, "status": value, "reason": reason, "message": message}
    row |= {"lastUpdateTime": now, "lastTransitionTime": since}
    status["conditions"] = [other for other in rows if other["type"] != kind] + [row]
