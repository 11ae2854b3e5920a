"""Paper A: exact learning dynamics of deep linear networks, one module a topic."""
