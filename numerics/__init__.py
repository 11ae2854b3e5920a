"""What networks do: float64 deep linear networks, their curvature, update rules and flows.

Every tensor may carry leading batch dimensions S (seeds). vec is column-major throughout:
vec(A X B) = (B^T kron A) vec X. Nothing here knows a formula of the theory under test.
"""
