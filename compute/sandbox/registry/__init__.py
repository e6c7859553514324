"""The pretend container registry: builds of environments, and the images that pods may use."""
