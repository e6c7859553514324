"""Start-up of the shared app."""

from django.apps import AppConfig

from portal import logs


class PortalConfig(AppConfig):
    """People, operations, history, and the roof."""

    name = "portal"

    def ready(self) -> None:
        """Set up logging once."""
        logs.configure()
