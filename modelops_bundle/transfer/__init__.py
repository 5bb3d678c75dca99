"""Moving bytes between stores and trees, and deciding whether to believe them."""
