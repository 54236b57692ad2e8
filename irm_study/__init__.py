"""irm-study: hyperparameters of Invariant Risk Minimization on Colored MNIST, and how stable they are."""

__version__ = "0.1.0"
