"""`./slipway demo`: the whole story through the REST API, with real models and real traffic."""
