"""Which weights to drop: calibration, masks, reconstruction, allocation, recovery. `edgesparse.sparsify` calls them."""
