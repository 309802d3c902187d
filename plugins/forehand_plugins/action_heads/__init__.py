"""Stock action heads."""
