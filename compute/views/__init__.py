"""Pages of compute: clusters, their node pools, their power."""
