"""Everything a person or a script sees."""
