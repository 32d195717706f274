"""Training-aware optimisation of any torch model: pruning, distillation, int8 training, export."""
