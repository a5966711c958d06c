"""Semantic face editing with conditional normalizing flows: SDFlow in JAX and Flax.

What stands in `__all__` is imported when it is first asked for, so that `import sdflow_jax` takes no
time and no more memory than what is used.
"""

import importlib

__version__ = "0.1.0"

# Name -> the module that it comes from.
_PLACES = {
    "Editor": "editor",
    "ConditionalFlow": "flow.conditional_flow",
    "VectorField": "flow.vector_field",
    "SolverSettings": "flow.solve",
    "draw_noise": "flow.trace",
    "Generator": "models.stylegan2",
    "CompactGenerator": "models.compact_generator",
    "MobileStyleGAN": "models.mobile_stylegan",
    "SemanticEncoder": "models.semantic_encoder",
    "AttributeClassifier": "models.attribute_classifier",
    "InversionEncoder": "models.inversion_encoder",
    "Conventions": "losses",
    "LossSettings": "losses",
    "sdflow_losses": "losses",
    "negative_log_likelihood": "losses",
    "mean_squared_error": "losses",
    "load_network": "files.networks",
    "save_network": "files.networks",
    "NetworkFileError": "files.networks",
    "pocket_faces": "pocket.faces",
    "keep_compiled_programs": "files.compiled_programs",
    "read_image": "images.reading",
    "ImageFileError": "images.reading",
    "to_bytes": "images.pixels",
    "to_signed": "images.pixels",
}

__all__ = ["__version__", *sorted(_PLACES)]


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value  # asked once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
