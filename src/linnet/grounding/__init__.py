"""Whether a passage supports what a text claims."""
