"""What becomes of the money when a service dies at any named place? `make crash-matrix` kills each
of them there and looks.
"""
