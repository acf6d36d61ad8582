"""Which layer each value in force comes from; pure."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from netra_config.layers import Values, has, leaves, pointer
from netra_config.revision import TenantId, told
from netra_config.snapshot import Resolver, Snapshot

T = TypeVar("T")


class Layered(BaseModel):
    """A value that is in force, and the layer that says so: default, environment, dynamic or tenant."""

    model_config = ConfigDict(frozen=True)

    path: str
    value: str
    layer: str


def layered(resolver: Resolver[T], snapshot: Snapshot[T], tenant: TenantId | None) -> tuple[Layered, ...]:
    """List the values in force for *tenant*, or for everybody."""
    schema, document = resolver.schema, snapshot.document
    overlay: Values = document.tenants.get(tenant, {}) if tenant is not None else {}
    model = snapshot.values if tenant is None else snapshot.tenants.get(tenant, snapshot.values)
    stack = (("tenant", overlay), ("dynamic", document.values), ("environment", resolver.settings))
    return tuple(
        Layered(
            path=pointer(path),
            value=told(value, masked=not schema.visible(("values", *path))),
            layer=next((name for name, layer in stack if has(layer, path)), "default"),
        )
        for path, value in leaves(schema.dump(model))
    )
