"""Dataset checks: damage, odd values, timing, motion, episodes and images, as findings with places and remedies."""
