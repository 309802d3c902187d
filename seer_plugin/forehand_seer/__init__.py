"""Seer plugin: the parts of predictive inverse-dynamics policies (Tian et al. 2024)."""
