"""How files hold a DeepPot-SE model: DeePMD-kit's own, and the native format's arrays."""
