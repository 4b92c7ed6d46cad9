"""How files hold a MACE model: PyTorch's and the native format's arrays."""
