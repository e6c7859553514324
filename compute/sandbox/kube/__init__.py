"""The Kubernetes API of the pretend clusters: object store, clusters, and the HTTP routes."""
