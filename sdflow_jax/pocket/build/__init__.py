"""How the pocket world was built; see `__main__`."""
