"""What is killed: training, the writing of checkpoints, data building, conversion, evaluation, figures.

Each campaign says how a process does its work in a directory, what it must leave there, and which
files may at no moment be there in part.
"""

import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping

import numpy as np

from reliability import quick_runs
from reliability.forked import Forked, answer_of
from reliability.tiny_world import build_tiny_world, restored_generator
from sdflow_jax.methods.run import run
from sdflow_jax.training.interrupts import Interrupts


class Campaign:
    """One kind of work. The full number of kills is `kills`."""

    fault = ""
    kills = 0

    def __init__(self, directory: pathlib.Path):
        self.directory = directory
        self.world = build_tiny_world(directory / "world")

    def prepare(self, workdir: pathlib.Path) -> None:
        """Lay out what the work finds."""

    def work(self, workdir: pathlib.Path) -> None:
        """Do it, or continue it."""
        raise NotImplementedError

    def result(self, workdir: pathlib.Path) -> Mapping[str, str]:
        """What the work leaves, once it is done."""
        raise NotImplementedError

    def whole_files(self, workdir: pathlib.Path) -> Mapping[str, str]:
        """Those files of the result that are there now, and so must be whole."""
        return self.result(workdir)

    def moment_may_come(self, workdir: pathlib.Path) -> Callable[[], bool]:
        """From when on the moments of kills are counted; from the beginning, if not said otherwise."""
        del workdir
        return lambda: True

    def window_s(self, duration_s: float) -> float:
        """In how many seconds from then the kills fall."""
        return duration_s


class Training(Campaign):
    """`train.py` with its faces built."""

    fault = "SIGKILL during training"
    kills = 60
    method = "latent_transformer"

    def __init__(self, directory: pathlib.Path):
        super().__init__(directory)
        self.config = quick_runs.quick_config(self.world, self.method)

    def work(self, workdir):
        with Interrupts() as interrupts:
            run(self.config, workdir, interrupts)

    def result(self, workdir):
        return quick_runs.trained_fingerprint(workdir)

    def whole_files(self, workdir):
        return quick_runs.files_fingerprint(workdir, "*/*.safetensors", "config.json")


class TrainingOfFlow(Training):
    """The same of SDFlow, which takes longer to compile than to train here."""

    fault = "SIGKILL during training of SDFlow"
    kills = 8
    method = "sdflow"


class CheckpointWriting(Training):
    """Kills within a few milliseconds from when a checkpoint begins to be written."""

    fault = "SIGKILL during checkpoint writing"
    kills = 40

    def __init__(self, directory: pathlib.Path):
        super().__init__(directory)
        self.config.training.checkpoint_every = 1

    def moment_may_come(self, workdir):
        before = set(_unfinished(workdir))
        return lambda: bool(set(_unfinished(workdir)) - before)

    def window_s(self, duration_s):
        return 0.1


def _unfinished(workdir: pathlib.Path) -> list[pathlib.Path]:
    """Directories of checkpoints that orbax has begun and not renamed yet."""
    found = []
    # Not glob, which fails where a directory is renamed or deleted under its feet.
    for directory, names, _ in os.walk(workdir):
        if pathlib.Path(directory).name == "checkpoints":
            found += [pathlib.Path(directory, name) for name in names if not name.isdigit()]
            names.clear()
    return found


class DataBuilding(Campaign):
    """`prepare_data`: decoding, annotating, writing."""

    fault = "SIGKILL during data building"
    kills = 32

    def __init__(self, directory: pathlib.Path):
        super().__init__(directory)
        from sdflow_jax.data import prepared
        from sdflow_jax.files.run_config import to_json
        from sdflow_jax.methods import settings

        self._prepare = prepared.prepare_data
        config = quick_runs.quick_config(self.world, "latent_transformer")
        config.data.update({"directory": "", "annotation_batch_size": 4})
        self._settings = settings.read_settings(to_json(config))

    def work(self, workdir):
        self._prepare(self._settings.data, self._settings.networks, workdir)

    def result(self, workdir):
        found = _datasets(workdir)
        return answer_of(lambda: quick_runs.data_fingerprint(found[0]), self.directory)

    def whole_files(self, workdir):
        return self.result(workdir) if _datasets(workdir) else {}


def _datasets(workdir: pathlib.Path) -> list[pathlib.Path]:
    """The directories that the next run would take for a data set."""
    return [file.parent for file in workdir.glob("data/**/1.0.0/dataset_info.json")]


class Conversion(Campaign):
    """`python -m converters` with --overwrite."""

    fault = "SIGKILL during conversion"
    kills = 32

    def __init__(self, directory: pathlib.Path):
        super().__init__(directory)
        from converters import __main__ as converters

        self._convert = converters.main
        self.checkpoint = restored_generator(directory / "generator.pt")

    def work(self, workdir):
        code = self._convert([str(self.checkpoint), "--out", str(workdir), "--overwrite"])
        if code:
            raise SystemExit(code)

    def result(self, workdir):
        return quick_runs.files_fingerprint(workdir, "*")


class Evaluation(Campaign):
    """`evaluate.py` on a finished run."""

    fault = "SIGKILL during evaluation"
    kills = 14

    def __init__(self, directory: pathlib.Path):
        super().__init__(directory)
        import evaluate
        import sdflow_jax.methods.latent_transformer.training as training
        from sdflow_jax.data.prepared import prepare_data
        from sdflow_jax.files.run_config import load_config, save_config, to_json
        from sdflow_jax.methods.registry import find_method
        from sdflow_jax.methods.settings import read_settings
        from sdflow_jax.training.interrupts import Interrupts

        del training  # imported now, not in every process
        self._evaluate, self._load_config = evaluate, load_config
        # Two random networks would agree on hardly any face: the training classifier is the judge, too.
        files = self.world / "networks"
        shutil.copy(files / "classifier.safetensors", files / "evaluation_classifier.safetensors")
        self._run = directory / "run"
        plain = to_json(quick_runs.quick_config(self.world, "latent_transformer"))

        def train() -> None:
            settings = read_settings(plain)
            save_config(self._run, plain)
            dataset = prepare_data(settings.data, settings.networks, self._run)
            with Interrupts() as interrupts:
                find_method(settings.method).train(settings, self._run, dataset, interrupts)

        if Forked(train, directory / "training.log").finish():
            raise RuntimeError((directory / "training.log").read_text())

    def prepare(self, workdir):
        shutil.copytree(self._run, workdir, dirs_exist_ok=True)

    def work(self, workdir):
        settings = self._evaluate.EvaluationSettings(
            num_faces=9,
            strengths=(0.0, 0.5, 1.0),
            batch_size=4,
            num_shown=2,
            num_resamples=20,
            num_samples=0,
        )
        self._evaluate.run(self._load_config(workdir), workdir, settings)

    def result(self, workdir):
        results = workdir / "evaluation"
        found = quick_runs.files_fingerprint(results, "*.png", "*.csv")
        for file in sorted(results.glob("*.npz")):
            with np.load(file) as arrays:  # the archive itself holds the time
                found[file.name] = str({name: arrays[name].tolist() for name in arrays.files})
        summary = json.loads((results / "summary.json").read_text())
        summary.pop("seconds")
        return {**found, "summary.json": json.dumps(summary, sort_keys=True)}

    def whole_files(self, workdir):
        results = workdir / "evaluation"
        if (results / "summary.json").exists():  # the mark of complete results
            return self.result(workdir)
        return quick_runs.files_fingerprint(results, "*.png", "*.csv")


class Figures(Evaluation):
    """Kills within the time in which an evaluation writes its files."""

    fault = "SIGKILL during figures"
    kills = 14

    def moment_may_come(self, workdir):
        file = workdir / "evaluation" / "outcomes.npz"
        before = file.stat().st_mtime_ns if file.exists() else 0
        return lambda: file.exists() and file.stat().st_mtime_ns != before

    def window_s(self, duration_s):
        reference = self.directory / "reference" / "evaluation"
        times = [file.stat().st_mtime for file in reference.iterdir()]
        return max(times) - min(times)


CAMPAIGNS = {
    "kill-training": Training,
    "kill-sdflow": TrainingOfFlow,
    "kill-checkpoint": CheckpointWriting,
    "kill-data": DataBuilding,
    "kill-conversion": Conversion,
    "kill-evaluation": Evaluation,
    "kill-figures": Figures,
}
