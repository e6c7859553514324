"""Start-up of the deployments app."""

from django.apps import AppConfig


class DeploymentsConfig(AppConfig):
    """What runs: models, environments, and their deployments."""

    name = "deployments"

    def ready(self) -> None:
        """Make the plans of this app known in web and worker."""
        from deployments import steps  # noqa: F401  (importing defines the plans)
