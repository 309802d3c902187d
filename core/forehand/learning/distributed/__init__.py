"""Training by several processes, each on its device: data parallel, and fully sharded."""
