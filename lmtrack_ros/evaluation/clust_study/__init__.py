"""Landmarks in liver and kidney ultrasound: the tables of Zhang et al. 2023, on the study population."""
