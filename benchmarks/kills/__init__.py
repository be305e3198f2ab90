"""Kill whoever decides, submits and trains, and the cluster under them, at every crash window."""
