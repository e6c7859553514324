"""The pretend Entra directory: principals, their rights, and the authority that gives them tokens."""
