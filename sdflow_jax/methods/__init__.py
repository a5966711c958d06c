"""Ways to edit faces: what each must offer, the registry, and a room for each."""
