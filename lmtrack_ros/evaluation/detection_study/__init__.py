"""Cross-subject detection of landmarks in chest radiographs, beside the baselines of the paper.

Frueh et al. 2022, sections III.C.2, III.D and III.E.1, on phantoms.
"""
