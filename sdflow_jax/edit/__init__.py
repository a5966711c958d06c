"""Edits photographs: `python -m sdflow_jax.edit PHOTO... --set Eyeglasses=1 Young=0.2 --out DIR`.

A photo is an aligned, square face, as FFHQ's are; a folder stands for the photos in it. Each becomes
DIR/NAME.png, and with `--strip ATTRIBUTE` DIR/NAME-ATTRIBUTE.png: the photo, the face found for it, and that
at several targets.

With `--align` a photo is any photo: its faces are found and aligned. DIR/NAME.png is then the edited
face; of a photo with several there are DIR/NAME-1.png, DIR/NAME-2.png, ... from left to right instead.
With `--paste` DIR/NAME.png is the photo with all its edited faces.
"""
