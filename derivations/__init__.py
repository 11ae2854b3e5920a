"""What the theory says: symbolic derivations of both papers."""
