"""Where models come from: one resolver per kind of source (DESIGN §3)."""
