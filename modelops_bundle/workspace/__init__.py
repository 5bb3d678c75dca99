"""A working directory: project, tracked paths, scan, digest cache, merge base."""
