"""Command line of Forehand."""
