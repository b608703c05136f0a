"""The experiments of the paper of the coarse-to-fine U-Net, on simulated patients."""
