import pytest

from sdflow_jax.files.lock import locked
from sdflow_jax.study import __main__ as command


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
