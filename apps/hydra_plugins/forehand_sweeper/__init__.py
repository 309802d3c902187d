"""Hydra's plugin of sweeps that go on where they stopped."""
