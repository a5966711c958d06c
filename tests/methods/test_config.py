import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from converters import stylegan2
from converters.__main__ import main as converters_main
from reliability.checkpoint_writer import write_checkpoint
from reliability.tiny_world import build_tiny_world, tiny_config
from sdflow_jax.data.prepared import faces_size
from sdflow_jax.files import networks, run_config
from sdflow_jax.files.config_files import read_config
from sdflow_jax.files.roles import TRAINING_ROLES
from sdflow_jax.flow import SolverSettings
from sdflow_jax.methods.settings import read_settings, read_shared_settings
from tests.filled_networks import filled_arrays

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return build_tiny_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def config(world):
    return tiny_config(world)


def _load(name, *arguments):
    return read_config(":".join([str(CONFIGS / f"{name}.py"), *arguments]))


def _complaints(config):
    with pytest.raises(run_config.ConfigError) as error:
        read_settings(run_config.to_json(config))
    return str(error.value).splitlines()


def test_good_config_passes(config):
    read_settings(run_config.to_json(config))


@pytest.mark.parametrize(
    ("group", "key", "value", "message"),
    [
        (None, "attributes", (), "config.attributes must be a tuple of at least one"),
        (
            None,
            "attributes",
            ("Smiling",),
            "config.attributes: .* does not predict Smiling; choose",
        ),
        (
            "data",
            "source",
            "web",
            "config.data.source must be one of folder, generator, latents, got 'web'",
        ),
        ("data", "truncation", 0.7, "config.data.truncation must be 1.0 unless the source is 'gen"),
        ("data", "mixed_share", 1.5, r"config.data.mixed_share must be in \[0, 1\], got 1.5"),
        ("data", "folder", "", "config.data.folder must be the directory"),
        ("losses", "mi", -1.0, "config.losses.mi must be a weight of at least 0, got -1.0"),
        (
            "losses",
            "image_resolution",
            24,
            r"config.losses.image_resolution must be 0 or one of .* \(4, 8, 16, 32\), got 24",
        ),
        ("losses", "resample", "all", "config.losses: loss setting resample must be one of"),
        ("solver", "method", "rk", "config.solver: solver setting method must be one of dopri5"),
        ("optimizer", "learning_rate", 0.0, "config.optimizer.learning_rate must be above 0"),
        ("optimizer", "ema_decay", 1.0, "config.optimizer.ema_decay must be in"),
        ("optimizer", "decay_steps", 1, "config.optimizer.decay_steps must be at least"),
        ("training", "num_steps", 5000, "config.optimizer.decay_steps must be at least 5000"),
        ("flow", "num_blocks", 0, "config.flow.num_blocks must be at least 1, got 0"),
        ("flow", "hidden_sizes", (8, 0), "config.flow.hidden_sizes must be a tuple of whole"),
        ("semantic_encoder", "depth", 35, "config.semantic_encoder.depth must be one of 18, 34"),
        (None, "initial_backbone", "pocket:nobody", "config.initial_backbone: .* has no 'nobody'"),
        (
            None,
            "initial_backbone",
            "pocket:generator",
            "config.initial_backbone: expected an AttributeClassifier, .* holds a CompactGenerator",
        ),
        ("training", "num_steps", 0, "config.training.num_steps must be at least 1, got 0"),
        ("training", "matmul_precision", "half", "config.training.matmul_precision must be 'def"),
        ("optimizer", "b1", 1.0, r"config.optimizer.b1 must be in \[0, 1\), got 1.0"),
        (
            "training",
            "generator_dtype",
            "half",
            "config.training.generator_dtype must be 'float32'",
        ),
        (
            "networks",
            "generator",
            "nowhere.safetensors",
            "config.networks.generator: .*no such.*conv",
        ),
        ("networks", "generator", "", "config.networks.generator must be a network file"),
    ],
)
def test_mistake_gives_one_line_that_names_it(config, group, key, value, message):
    (config[group] if group else config)[key] = value
    complaints = _complaints(config)
    assert len(complaints) == 1
    assert re.match(message, complaints[0]), complaints[0]


def test_backbone_must_fit_the_semantic_encoder(config):
    config.initial_backbone = "pocket:classifier"
    config.semantic_encoder.update({"depth": 34, "width": 8, "stem_pool": True})
    (complaint,) = _complaints(config)
    assert complaint.startswith("config.semantic_encoder.width must be 16")
    config.semantic_encoder.width = 16
    read_settings(run_config.to_json(config))


@pytest.mark.parametrize("is_absent", [False, True])
def test_samples_of_a_generator_need_no_inversion_encoder(config, is_absent, tmp_path):
    config.networks.inversion_encoder = ""
    if is_absent:
        del config.networks.inversion_encoder
    (complaint,) = _complaints(config)
    assert complaint.startswith("config.networks.inversion_encoder must be a network file")
    config.data.source = "generator"
    settings = read_settings(run_config.to_json(config))
    assert settings.data.brings_latents and settings.data.truncation == 1.0
    run_config.save_config(tmp_path, config)
    loaded = run_config.load_config(tmp_path)
    assert set(loaded["network_digests"]) == {"generator", "classifier"}
    run_config.check_contents(loaded)
    config.data.splits = {"test": (0, 5)}
    (complaint,) = _complaints(config)
    assert complaint.startswith("config.data.splits must be a mapping that has the split train")


def test_latents_that_others_have_found_need_no_inversion_encoder(config):
    config.networks.inversion_encoder = ""
    config.data.update({"source": "latents", "splits": {}, "image_size": 16})
    (complaint,) = _complaints(config)
    assert complaint.startswith("config.data.latents must be the file of latents")
    with config.unlocked():
        config.data.latents = "ffhq.safetensors"
    data = read_settings(run_config.to_json(config)).data
    assert data.brings_latents and data.has_originals and data.latents == "ffhq.safetensors"
    config.data.source = "generator"
    config.data.splits = {"train": (0, 5)}
    (complaint,) = _complaints(config)
    assert complaint.startswith("config.data.latents must be '' unless the source is 'latents'")


def test_runs_older_than_the_source_latents_are_the_same(config):
    plain = run_config.to_json(config)
    assert "latents" not in plain["data"]
    with config.unlocked():
        config.data.latents = ""
    assert run_config.to_json(config) == plain


def test_runs_older_than_the_generator_source_go_on(config):
    old = run_config.to_json(config)
    for key in ("image_size", "truncation", "mixed_share", "seed_list"):
        del old["data"][key]
    assert run_config.to_json(old) == run_config.to_json(config)
    read_settings(run_config.to_json(old))


def test_networks_of_two_worlds_are_found_out(config):
    config.networks.generator = "pocket:generator"
    (complaint,) = _complaints(config)
    assert "takes latents of shape (18, 512), the inversion encoder gives" in complaint


def test_every_mistake_is_reported_at_once(config):
    config.training.batch_size = 0
    config.networks.generator = config.networks.classifier
    for name in ("nll", "kd", "mi", "reg"):
        config.losses[name] = 0.0
    complaints = "\n".join(_complaints(config))
    assert "config.training.batch_size" in complaints
    assert "config.networks.generator: expected a Generator" in complaints
    assert "config.losses" in complaints


def test_config_survives_its_file(config, tmp_path):
    run_config.save_config(tmp_path, config)
    loaded = run_config.load_config(tmp_path)
    digests = loaded.pop("network_digests")
    assert set(digests) == set(TRAINING_ROLES)
    assert loaded == run_config.to_json(config)
    assert loaded["attributes"] == list(config.attributes)
    assert loaded["data"]["splits"]["train"] == [0, 40]
    with pytest.raises(FileNotFoundError, match="must be the --workdir of a training run"):
        run_config.load_config(tmp_path / "elsewhere")


def test_resuming_may_change_lengths_but_not_the_course(config):
    old = run_config.to_json(config)
    config.training.num_steps = 99
    config.data.num_threads = 1
    run_config.check_resumable(old, run_config.to_json(config))
    config.solver.max_steps += 1  # what a run that failed for want of steps is told to do
    run_config.check_resumable(old, run_config.to_json(config))
    config.optimizer.learning_rate = 0.5
    with pytest.raises(run_config.ConfigError, match="learning_rate was .* and is now 0.5"):
        run_config.check_resumable(old, run_config.to_json(config))


def test_file_that_a_run_begins_with_may_move_but_not_change(config, tmp_path, monkeypatch):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    shutil.copy(networks.resolve("pocket:classifier"), first)
    config.semantic_encoder.update({"depth": 34, "width": 16, "stem_pool": True})
    monkeypatch.chdir(tmp_path)
    config.initial_backbone = first.name
    run_config.save_config(tmp_path, config)
    old = run_config.load_config(tmp_path)
    assert old["initial_backbone"] == str(first)
    first.rename(second)
    config.initial_backbone = str(second)
    run_config.check_resumable(old, run_config.to_json(config))
    shutil.copy(networks.resolve("pocket:evaluation_classifier"), second)
    with pytest.raises(run_config.ConfigError, match="config.initial_backbone: .* does not hold"):
        run_config.check_resumable(old, run_config.to_json(config))
    config.initial_backbone = ""
    with pytest.raises(run_config.ConfigError, match="config.initial_backbone was .* is now ''"):
        run_config.check_resumable(old, run_config.to_json(config))


def test_classifier_is_not_asked_about_faces_of_another_size(config, tmp_path):
    path = config.networks.classifier
    found = networks.read_metadata(path)
    size = faces_size(read_settings(run_config.to_json(config)).data, config.networks)
    config.networks.classifier = str(tmp_path / "classifier.safetensors")
    for learned in (size, 2 * size):
        notes = {"attributes": found["attributes"], "image_size": str(learned)}
        networks.save_arrays(
            config.networks.classifier,
            found["network"],
            found["arguments"],
            load_file(path),
            notes=notes,
        )
        if learned == size:
            read_settings(run_config.to_json(config))
    (complaint,) = _complaints(config)
    assert f"learned from faces of {2 * size} pixels" in complaint
    assert f"--config.data.image_size={size}" in complaint


def test_networks_may_move_but_not_change(config, world, tmp_path):
    run_config.save_config(tmp_path, config)
    old = run_config.load_config(tmp_path)
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(pathlib.Path(config.networks.generator).read_bytes())
    config.networks.generator = str(moved)
    run_config.check_resumable(old, run_config.to_json(config))
    old["networks"]["generator"] = str(moved)
    run_config.check_contents(old)
    moved.write_bytes(moved.read_bytes() + b" ")
    message = "config.networks.generator: .*moved.safetensors does not hold the network"
    with pytest.raises(run_config.ConfigError, match=message):
        run_config.check_resumable(old, run_config.to_json(config))
    with pytest.raises(run_config.ConfigError, match=message):
        run_config.check_contents(old)
    run_config.check_contents(old, ("classifier",))
    moved.unlink()
    with pytest.raises(networks.NetworkFileError, match="no such network file"):
        run_config.check_contents(old)


@pytest.mark.parametrize("name", ["pocket", "ffhq"])
def test_shipped_configs_have_only_the_mistakes_that_a_user_must_mend(name, world):
    config = _load(name)
    if name == "ffhq":  # its user brings the networks and the faces
        assert {line.split()[0] for line in _complaints(config)} == {
            "config.data.folder",
            *(f"config.networks.{role}:" for role in TRAINING_ROLES),
        }
        config.data.folder = str(world / "faces")
        # CelebA's forty attributes: the classifier's own default.
        path = world / "celeba.safetensors"
        networks.save_arrays(path, "AttributeClassifier", {}, {"x": np.zeros(1)})
        config.networks.classifier = str(path)
    else:
        config.networks.classifier = str(world / "networks" / "classifier.safetensors")
    for role in ("generator", "inversion_encoder", "evaluation_classifier", "identity_encoder"):
        config.networks[role] = str(world / "networks" / f"{role}.safetensors")
    if "losses" in config:
        config.losses.image_resolution = 0  # the tiny generator is smaller than any that is shipped
    read_settings(run_config.to_json(config))


COMPARED = {
    "baselines/interfacegan": "interfacegan",
    "baselines/latent_transformer": "latent_transformer",
    "baselines/styleflow": "sdflow",
}


@pytest.mark.parametrize("name", COMPARED)
def test_configs_of_the_baselines_are_right_and_keep_the_pocket_data(name, world):
    config = _load(name)
    assert config.method == COMPARED[name]
    pocket = _load("pocket")
    assert config.data == pocket.data and config.attributes == pocket.attributes
    for role in config.networks:
        config.networks[role] = str(world / "networks" / f"{role}.safetensors")
    if "losses" in config:
        config.losses.image_resolution = 0  # the tiny generator is smaller than any that is shipped
    read_settings(run_config.to_json(config))


def _names(tree, prefix="config."):
    """The dotted names of a config's values."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{key}.")
        else:
            yield prefix + key


@pytest.mark.parametrize(
    "name", ["pocket", "baselines/interfacegan", "baselines/latent_transformer"]
)
def test_no_option_of_a_config_is_without_effect(name):
    config = _load(name)
    keys = read_settings(run_config.to_json(config)).keys
    assert not {x for x in _names(config.to_dict()) if not run_config.is_within(x, keys)}


def test_a_run_that_has_options_which_nothing_read_goes_on_without_them():
    config = _load("baselines/latent_transformer")
    new = run_config.to_json(config)
    keys = read_settings(new).keys
    config.training.generator_dtype = "bfloat16"  # as all these configs once had
    config.optimizer.update({"backbone_rate": 0.1, "ema_decay": 0.0})
    run_config.check_resumable(run_config.to_json(config), new, keys)
    config.optimizer.b2 = 0.9
    with pytest.raises(run_config.ConfigError) as error:
        run_config.check_resumable(run_config.to_json(config), new, keys)
    assert str(error.value).splitlines()[1:] == ["config.optimizer.b2 was 0.9 and is now 0.999"]


def test_an_option_that_may_be_absent_binds_all_the_same(config):
    config.flow.end_time = 0.5
    config.solver.num_steps = 3
    old = run_config.to_json(config)
    del config.flow["end_time"], config.solver["num_steps"]
    new = run_config.to_json(config)
    with pytest.raises(run_config.ConfigError) as error:
        run_config.check_resumable(old, new, read_settings(new).keys)
    assert [line.split()[0] for line in str(error.value).splitlines()[1:]] == [
        "config.flow.end_time",
        "config.solver.num_steps",
    ]


def test_ablation_adds_a_loss_at_a_time_and_ends_as_the_pocket_config():
    variants = {name: _load("ablation", name) for name in ("nll", "reg", "mi", "kd")}
    terms = {
        name: {term for term in ("nll", "reg", "mi", "kd") if config.losses[term] > 0}
        for name, config in variants.items()
    }
    assert terms["nll"] == {"nll"} and terms["reg"] == {"nll", "reg"}
    assert terms["mi"] == {"nll", "reg", "mi"}
    assert variants["kd"] == _load("pocket")
    assert _load("baselines/styleflow") == variants["nll"]
    fixed = [config.semantic_variables for config in variants.values()]
    assert fixed == ["classifier"] * 3 + ["encoder"]
    with pytest.raises(ValueError, match="the variants are nll, reg, mi, kd, got 'all'"):
        _load("ablation", "all")


@pytest.mark.parametrize(
    ("name", "group", "key", "value", "message"),
    [
        (
            "interfacegan",
            "interfacegan",
            "extremes",
            0.6,
            "config.interfacegan.extremes must be in",
        ),
        (
            "latent_transformer",
            "latent_transformer",
            "attribute",
            -1.0,
            "config.latent_transformer.attribute must be a weight",
        ),
        (
            "latent_transformer",
            "latent_classifier",
            "num_steps",
            0,
            "config.latent_classifier.num_steps must be at least 1",
        ),
        ("styleflow", "losses", "kd", 1.0, "config.losses: the term kd teaches"),
    ],
)
def test_mistake_in_a_baseline_gives_one_line(world, name, group, key, value, message):
    config = _load(f"baselines/{name}")
    for role in config.networks:
        config.networks[role] = str(world / "networks" / f"{role}.safetensors")
    config[group][key] = value
    complaints = _complaints(config)
    assert len(complaints) == 1
    assert re.match(message, complaints[0]), complaints[0]


def test_both_stages_of_the_latent_transformer_end_before_the_rate_is_0(world):
    config = _load("baselines/latent_transformer")
    for role in config.networks:
        config.networks[role] = str(world / "networks" / f"{role}.safetensors")
    config.optimizer.schedule = "cosine"
    config.optimizer.decay_steps = config.training.num_steps
    config.latent_classifier.num_steps = config.training.num_steps + 1
    (complaint,) = _complaints(config)
    assert "before which latent_classifier.num_steps must be done" in complaint


def test_unknown_method_is_refused(config):
    config.method = "gan"
    assert _complaints(config) == [
        "config.method must be one of sdflow, interfacegan, latent_transformer, got 'gan'"
    ]


@pytest.mark.parametrize(
    ("group", "key", "value", "message"),
    [
        ("losses", "mi", "much", "config.losses.mi must be a weight of at least 0, got 'much'"),
        ("losses", "mii", 1.0, "config.losses.mii is no setting; the settings are image_r"),
        ("flow", "hidden_sizes", "512-512", "config.flow.hidden_sizes must be a tuple"),
        ("flow", "end_times", 1.0, "config.flow.end_times is no setting"),
        (
            "solver",
            "rtol",
            "tight",
            "config.solver: solver setting rtol must be positive; got 'tight'",
        ),
        ("training", "num_steps", 2.5, "config.training.num_steps must be at least 1, got 2.5"),
        ("data", "limits", {"train": "all"}, "config.data.limits must be split -> number"),
        (
            "data",
            "limits",
            {"tset": 3},
            "config.data.limits must be of the splits train, validation, test, not tset",
        ),
    ],
)
def test_values_of_the_wrong_type_and_unknown_keys_give_one_line(
    config, group, key, value, message
):
    plain = run_config.to_json(config)
    plain[group][key] = value
    with pytest.raises(run_config.ConfigError) as error:
        read_settings(plain)
    (complaint,) = str(error.value).splitlines()
    assert re.match(message, complaint), complaint


def test_settings_are_typed_and_built_once(config):
    settings = read_settings(run_config.to_json(config))
    assert settings.attributes == tuple(config.attributes)
    assert settings.data.splits["train"] == (0, 40)
    assert settings.own.solver == SolverSettings.create(config.solver.to_dict())
    assert settings.own.losses.terms == ("nll", "kd", "mi", "reg")
    assert settings.own.training.schedule.num_steps == config.training.num_steps


def test_flow_matching_takes_the_place_of_the_likelihood_in_a_flow_of_one_block(config):
    before = run_config.to_json(config)
    assert "flow_matching" not in before["losses"]  # runs are equal to those older than the key
    config.losses.update({"flow_matching": 1.0, "nll": 0.0})
    settings = read_settings(run_config.to_json(config))
    assert set(settings.own.losses.terms) == {"flow_matching", "kd", "mi", "reg"}
    config.flow.num_blocks = 2
    (complaint,) = _complaints(config)
    assert "config.losses.flow_matching must be 0 unless flow.num_blocks is 1" in complaint


RETIRED = {
    "losses": {
        "resize": "antialias",
        "clamp": True,
        "statistics_between_passes": False,
        "reference_nll_constant": False,
    },
    "solver": {"error_norm": "max_rms"},
}


def _save_with_retired_keys(config, directory, **changed):
    old = run_config.to_json(config)
    for group, retired in RETIRED.items():
        old[group] |= {key: changed.get(key, value) for key, value in retired.items()}
    (directory / "config.json").write_text(json.dumps(old))


def test_runs_older_than_the_reference_preset_go_on(config, tmp_path):
    _save_with_retired_keys(config, tmp_path)
    old = run_config.load_config(tmp_path)
    run_config.check_resumable(old, run_config.to_json(config))
    read_settings(old)
    for group, retired in RETIRED.items():  # a config file of that time does as well
        config[group].update(retired)
    assert run_config.to_json(config) == run_config.to_json(old)


def test_runs_that_copied_the_original_code_can_be_used_but_not_continued(config, tmp_path):
    _save_with_retired_keys(config, tmp_path, resize="nearest", error_norm="rms")
    old = run_config.load_config(tmp_path)
    read_shared_settings(old)
    with pytest.raises(run_config.ConfigError) as error:
        run_config.check_resumable(old, run_config.to_json(config))
    assert str(error.value).splitlines()[1:] == [
        "config.losses.resize was 'nearest', which training no longer offers",
        "config.solver.error_norm was 'rms', which training no longer offers",
    ]


def test_damaged_config_of_a_run_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(run_config.ConfigError, match=r"config.json: not a config of a run"):
        run_config.load_config(tmp_path)


def test_runs_older_than_the_method_key_are_sdflow(config, tmp_path):
    old = run_config.to_json(config)
    del old["method"], old["semantic_variables"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    run_config.check_resumable(run_config.load_config(tmp_path), run_config.to_json(config))


def test_the_command_in_the_message_makes_the_missing_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = _load("ffhq")
    complaints = [line for line in _complaints(config) if "config.networks.generator:" in line]
    assert "networks/generator.safetensors: no such network file" in complaints[0]
    words = re.search("`(.*)`", complaints[0])[1].split()
    assert words[:3] == ["python", "-m", "converters"]
    arguments = {
        "resolution": 8,
        "style_dim": 4,
        "channels": {"4": 3, "8": 2},
        "num_mapping_layers": 1,
    }
    tree = stylegan2.restore(arguments, filled_arrays("Generator", arguments))
    write_checkpoint(tmp_path / words[3], tree)
    assert converters_main(words[3:]) == 0
    assert not any("networks.generator" in line for line in _complaints(config))
