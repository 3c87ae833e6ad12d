"""Offline, seeded tests; the folders mirror the package."""
