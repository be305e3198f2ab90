"""What rooms share: the small Protocols between them, and the records that cross them."""
