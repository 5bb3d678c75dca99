"""Files as their formats say: parsers that believe nothing."""
