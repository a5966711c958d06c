import pathlib
import re

import numpy as np

README = pathlib.Path(__file__).parent.parent / "README.md"


def test_python_of_the_readme_runs_as_it_stands_and_edits():
    (code,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(code, README.name, "exec"), names)
    editor, pixels = names["editor"], names["pictures"]
    size = 128 if editor.renderer is None else 256
    assert names["faces"].shape == pixels.shape == (4, size, size, 3)
    assert names["w_plus"].shape == names["edited"].shape == (4, 18, 512)
    before, after = editor.read(names["faces"]), editor.read(pixels)
    glasses, young = (editor.attributes.index(name) for name in ("Eyeglasses", "Young"))
    assert np.mean(after[:, glasses]) > np.mean(before[:, glasses]) + 0.3
    assert np.mean(after[:, young]) < np.mean(before[:, young])
