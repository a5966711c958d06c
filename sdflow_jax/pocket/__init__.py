"""The pocket world: a small complete face world inside the package."""
