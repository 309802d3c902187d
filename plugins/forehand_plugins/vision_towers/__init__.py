"""Stock vision towers."""
