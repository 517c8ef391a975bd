"""Seeded, resumable recipes that train the lab's models from data in the package."""
