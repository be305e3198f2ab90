"""Online stores behind one contract."""
