"""Training of classifiers: `task: classify` of a recipe."""
