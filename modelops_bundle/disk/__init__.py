"""The only safe writer to a file system."""
