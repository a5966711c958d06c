import pytest

from sdflow_jax.files.checkout import NoCheckoutError, beside_package


@pytest.mark.parametrize("name", ["train.py", "evaluate.py", "configs/pocket.py"])
def test_a_checkout_has_its_programs_and_configs(name):
    assert beside_package(name).is_file()


def test_an_installed_package_says_where_they_are(tmp_path):
    with pytest.raises(NoCheckoutError, match="configs/pocket.py.*source distribution"):
        beside_package("configs/pocket.py", root=tmp_path)
