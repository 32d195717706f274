"""Training, pruning and quantisation: needs the extra `edgekit[train]`."""
