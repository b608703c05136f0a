"""Landmarks in ultrasound: experiments of Zhang et al. 2023 on phantoms, and what a gate needs besides."""
