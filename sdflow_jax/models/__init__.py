"""Networks: StyleGAN2, residual networks, face encoders."""
