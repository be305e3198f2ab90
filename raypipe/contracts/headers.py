"""Headers that the front door and a replica know each other by; no caller ever sees them."""

#: A replica is asked to count a request itself, and says that it has.
TELL, TOLD = "x-raypipe-tell", "x-raypipe-told"
