"""Speed and memory, side by side with the peers people use today: `make bench`."""
