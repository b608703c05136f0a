"""From landmark positions to beam holds and couch shifts: pure, driven by timestamps."""
