"""Side-by-side runs against peers: `make bench-NAME`, and `QUICK=1` for a version under a minute."""
