"""Open-loop evaluation: predicted against recorded actions, without a robot. No success rate."""
