"""RLDS datasets (Ramos et al. 2021) as TensorFlow Datasets writes them, read without TensorFlow."""
