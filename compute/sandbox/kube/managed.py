"""Who owns which field: `metadata.managedFields`."""

from dataclasses import dataclass
from typing import Any

from compute.sandbox.kube.fieldset import Fields, FieldSet, Path, from_fields_v1, to_fields_v1

Json = dict[str, Any]


@dataclass(frozen=True)
class Manager:
    """One owner: a name, how it writes (`Apply` or `Update`), through which version and subresource."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def show(self) -> str:
        """As a conflict names it."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


@dataclass
class Owned:
    """An owner's fields and the time of its last change of them."""

    fields: FieldSet
    time: str


Owners = dict[Manager, Owned]


def read(obj: Json) -> Owners:
    """The owners that an object records."""
    owners: Owners = {}
    for row in obj["metadata"].get("managedFields", []):
        key = Manager(row.get("manager", ""), row["operation"], row["apiVersion"], row.get("subresource", ""))
        owners[key] = Owned(from_fields_v1(row.get("fieldsV1", {})), row.get("time", ""))
    return owners


def write(obj: Json, owners: Owners) -> None:
    """Record the owners in the object; those without a field disappear."""
    rows = [_row(key, owned) for key, owned in owners.items() if owned.fields]
    rows.sort(key=lambda row: (row["operation"], row["time"], row["manager"]))
    obj["metadata"].pop("managedFields", None)
    if rows:
        obj["metadata"]["managedFields"] = rows


def _row(key: Manager, owned: Owned) -> Json:
    row: Json = {"manager": key.name, "operation": key.operation, "apiVersion": key.api_version, "time": owned.time}
    row |= {"fieldsType": "FieldsV1", "fieldsV1": to_fields_v1(owned.fields)}
    if key.subresource:
        row["subresource"] = key.subresource
    return row


def changed(fields: Fields, old: Json, new: Json) -> tuple[FieldSet, FieldSet]:
    """(added or modified, removed) paths between two objects."""
    before, after = fields.leaves(old), fields.leaves(new)
    touched = {path for path, value in after.items() if path not in before or before[path] != value}
    return touched, {path for path in before if path not in after}


def track_update(fields: Fields, old: Json, new: Json, who: Manager, moment: str) -> None:
    """After a write that is no apply: what changed belongs to the writer, and to nobody else."""
    owners = read(old)
    touched, removed = changed(fields, old, new)
    touched = {path for path in touched if _tracked(path, who)}
    for key, owned in owners.items():
        lost = removed if key == who else removed | touched
        if owned.fields & lost:
            owned.fields = owned.fields - lost
    if touched:
        mine = owners.get(who, Owned(set(), moment))
        owners[who] = Owned(mine.fields | touched, moment)
    write(new, owners)


def _tracked(path: Path, who: Manager) -> bool:
    """The main resource does not own the status, and the status subresource nothing else."""
    if who.subresource == "status":
        return path[0] == "f:status"
    return path[0] != "f:status"
