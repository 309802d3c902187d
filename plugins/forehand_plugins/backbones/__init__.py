"""Stock backbones."""
