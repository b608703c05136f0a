"""Trackers measured on recorded sequences: annotations, metrics, the usual trackers, reports."""
