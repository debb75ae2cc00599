"""What is wanted and where it goes. Pure: no I/O, no clock."""
