"""One training loop for all models: seeded, resumable at any kill, and what it leaves in its folder."""
