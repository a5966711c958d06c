import pytest

from sdflow_jax.files.config_files import read_config
from sdflow_jax.files.run_config import to_json
from sdflow_jax.methods.settings import read_settings
from sdflow_jax.study.plan import PAPER, ROOT, has_key
from sdflow_jax.study.searches import (
    NUM_TRIALS,
    PAPER_SEARCHES,
    SEARCHES,
    VARIANT_SEARCHES,
    Between,
    OneOf,
    Search,
)


def test_every_method_of_the_paper_gets_as_many_trials_and_its_own_config_first():
    assert PAPER_SEARCHES.keys() == PAPER.configs.keys()
    for method, search in PAPER_SEARCHES.items():
        assert len(search.trials) == NUM_TRIALS and search.trials[0] == {}
        assert search.config == PAPER.configs[method]
        assert search.trials == search.trials  # drawn anew, and the same


def test_what_goes_beyond_the_paper_has_names_of_its_own():
    assert not PAPER_SEARCHES.keys() & VARIANT_SEARCHES.keys()


def test_draws_cover_a_range_from_end_to_end():
    drawn = NUM_TRIALS - 1
    search = Search("", {"a": Between(1.0, 2.0**drawn), "b": OneOf(("x", "y"))})
    values = sorted(trial["a"] for trial in search.trials[1:])
    for place, value in enumerate(values):  # one draw in each doubling, but for two digits
        assert 2.0**place * 0.9 <= value <= 2.0 ** (place + 1) * 1.1
    assert {trial["b"] for trial in search.trials[1:]} == {"x", "y"}


def test_ends_of_ranges():
    assert Between(0.001, 10.0).at(0.0) == 0.001 and Between(0.001, 10.0).at(0.5) == 0.1
    assert [OneOf((1, 2, 3)).at(share) for share in (0.0, 0.34, 0.99)] == [1, 2, 3]


@pytest.mark.parametrize("method", SEARCHES)
def test_every_trial_is_a_config_that_training_accepts(method):
    search = SEARCHES[method]
    assert len({str(trial) for trial in search.trials}) == len(search.trials)
    for trial in search.trials:
        config = read_config(ROOT / search.config)
        assert all(has_key(config, key) for key in trial)
        config.update_from_flattened_dict(trial)
        read_settings(to_json(config))


@pytest.mark.parametrize("method", PAPER_SEARCHES)
def test_trials_of_the_paper_keep_the_length_of_training(method):
    for trial in PAPER_SEARCHES[method].trials:
        assert "training.num_steps" not in trial
