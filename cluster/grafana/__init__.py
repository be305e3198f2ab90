"""Grafana's dashboards, each a file of panels; `python -m cluster.grafana` writes their JSON."""
