"""Stock plugins: encoders, world models, reference policies and protocol adapters."""
