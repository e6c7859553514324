"""Start-up of the compute app."""

from django.apps import AppConfig


class ComputeConfig(AppConfig):
    """Where things run: AKS clusters, created or attached."""

    name = "compute"

    def ready(self) -> None:
        """Make the plans of compute operations known in web and worker."""
        from compute import steps  # noqa: F401  (importing defines the plans)
