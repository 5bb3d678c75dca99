"""What a changed model costs to move, beside oras and Xet: `make bench-delta`."""
