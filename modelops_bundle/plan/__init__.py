"""What to do: pure decisions over values."""
