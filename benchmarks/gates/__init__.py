"""Gates beside their peers."""
