"""The experiments of the patch-based iterative network's paper, and what goes beyond them."""
