"""Ablations of the template matching network: one thing changed at a time, each trained anew."""
