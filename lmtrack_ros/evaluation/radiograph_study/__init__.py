"""What LandmarkNet's paper shows, and set-up shifts from what it finds, on simulated patients."""
