"""The benchmark LIBERO (Liu et al. 2023) and LIBERO-PRO: driver, fixed initial states, evaluation protocols."""
