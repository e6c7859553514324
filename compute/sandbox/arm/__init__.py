"""The pretend Azure Resource Manager."""
