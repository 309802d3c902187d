"""Benchmark ``tabletop-chains``: 32 tasks, and chains of five of them, in environments A to D."""
