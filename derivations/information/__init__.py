"""Information geometry of deep networks at initialisation (paper B): mean field, Jacobian, Fisher, manifolds."""
