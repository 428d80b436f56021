"""What commands and notebooks compute: distributions, traces, search trees, gaps, costs."""
