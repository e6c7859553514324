"""Starts and watches everything that Slipway is on one machine (docs/adr/0004-launcher.md)."""
