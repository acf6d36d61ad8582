"""The real servers: what they are, how they start, and three ways in."""
