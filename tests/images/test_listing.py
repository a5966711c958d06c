import pytest

from sdflow_jax.images.listing import LinkLoopError, files_below


def test_files_are_listed_behind_links_and_without_what_is_hidden(tmp_path):
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    for path in (
        *(folder / "b" / "x.txt", folder / "a.png", folder / ".hidden", folder / ".git" / "x.png"),
        elsewhere / "more" / "y.png",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "link").symlink_to(elsewhere)
    (folder / "to_nowhere").symlink_to(tmp_path / "gone")
    names = [path.relative_to(folder).as_posix() for path in files_below(folder)]
    assert names == ["a.png", "b/x.txt", "link/more/y.png", "to_nowhere"]
    (elsewhere / "more" / "back").symlink_to(folder)
    with pytest.raises(LinkLoopError, match=f"link/more/back: .* leads back to {folder}, in which"):
        files_below(folder)
