"""Stock world models."""
