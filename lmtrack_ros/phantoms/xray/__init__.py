"""What radiographs are made of: a chest, its projection, the detector."""
