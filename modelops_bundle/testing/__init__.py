"""Contract suites and test doubles for implementers of the ports."""
