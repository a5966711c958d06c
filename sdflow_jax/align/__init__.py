"""From photographs to aligned faces, as FFHQ aligns them, and back into the photographs."""
