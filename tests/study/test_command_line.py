import pytest

from sdflow_jax.files.lock import locked
from sdflow_jax.study import __main__ as command
from sdflow_jax.study.plan import PAPER, plan_runs, with_best_form
from sdflow_jax.study.trials_table import best_of


def test_ctrl_c_ends_with_one_sentence(tmp_path, monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "regenerate", interrupt)
    monkeypatch.setattr("sys.argv", ["figures", "--tiny", f"--runs={tmp_path}"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 130  # of a program that SIGINT has ended
    assert capsys.readouterr().err == "interrupted; the same command continues\n"


def test_runs_that_another_process_makes_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "regenerate", lambda *_, **__: pytest.fail("began"))
    monkeypatch.setattr("sys.argv", ["figures", "--tiny", f"--runs={tmp_path}"])
    with (
        locked(tmp_path, "regenerating the figures"),
        pytest.raises(SystemExit, match=f"InUseError: {tmp_path} is in use: regenerating"),
    ):
        command.main()


def test_chosen_settings_and_the_best_form_come_from_the_trials(tmp_path, monkeypatch):
    table = tmp_path / "tuning.csv"
    table.write_text(
        "method,settings,score,chosen\n"
        'sdflow,"{""losses.mi"": 2.0}",0.6,yes\n'
        'sdflow-long,"{""training.num_steps"": 1000}",0.7,yes\n'
        "sdflow-long,{},0.9,\n"
        "styleflow,{},0.8,yes\n"
    )
    given = []
    monkeypatch.setattr(command, "regenerate", lambda *x, **_: given.extend(x) or True)
    arguments = ["--tiny", f"--tuning={table}", "--attributes=Male,Young", f"--runs={tmp_path}"]
    monkeypatch.setattr("sys.argv", ["figures", *arguments, f"--out={tmp_path / 'out'}"])
    command.main()
    study, settings, *_ = given
    assert study.ours == "sdflow-long" and study.titles["sdflow-long"] == "SDFlow, trained longer"
    assert settings.chosen["sdflow"] == {"losses.mi": 2.0}
    assert settings.trials_file == "../tuning.csv"
    runs = {run.method: run.overrides for run in plan_runs(study, settings, tmp_path)}
    assert runs["sdflow"]["losses.mi"] == 2.0 and "losses.mi" not in runs["ablation-mi"]
    assert runs["sdflow-long"]["attributes"] == ("Male", "Young")


@pytest.mark.parametrize("name", ["seeds", "num_faces"])
def test_nothing_to_compute_is_refused(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "regenerate", lambda *_, **__: pytest.fail("began"))
    monkeypatch.setattr("sys.argv", ["figures", "--tiny", f"--{name}=0", f"--runs={tmp_path}"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert f"--{name} must be at least 1, got 0" in capsys.readouterr().err


def test_a_variant_that_does_not_win_is_not_compared(tmp_path):
    assert with_best_form(PAPER, "sdflow") == PAPER == with_best_form(PAPER, None)
    assert best_of(tmp_path / "none.csv", ("sdflow",)) is None
