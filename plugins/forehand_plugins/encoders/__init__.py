"""Stock encoders."""
