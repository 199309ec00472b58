"""What takes minutes: scripts/soak runs it, `make test` does not."""
