"""Start-up of endpoints."""

from django.apps import AppConfig


class EndpointsConfig(AppConfig):
    """How what runs is reached: scoring URIs, versions, traffic, keys."""

    name = "endpoints"

    def ready(self) -> None:
        """Make the plans known in web and worker."""
        from endpoints import steps  # noqa: F401  (defines the plans)
