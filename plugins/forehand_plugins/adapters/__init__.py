"""Protocol adapters for the clients of openpi and GR00T."""
