"""zarr stores of whole datasets, as Diffusion Policy and UMI keep them."""
