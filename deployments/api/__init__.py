"""REST doors of deployments."""
