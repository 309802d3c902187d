"""Evaluation: success rates over seeded episodes, their confidence intervals, and the results file."""
