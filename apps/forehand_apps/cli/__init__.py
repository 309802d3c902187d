"""Command line: options, configuration, parts from it, errors and help."""
