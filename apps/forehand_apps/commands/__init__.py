"""Commands: one module each, with a function of its name that takes the command's configuration."""
