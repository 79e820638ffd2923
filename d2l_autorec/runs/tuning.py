"""A search for the options that suit the data at hand.

    options -> candidates -> trials, each a training measured by validation -> the best options

Optuna proposes (TPE) and prunes; the first trials are the presets. Validation ratings, or
validation users, decide; the test part is never looked at here.
"""

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import mxnet as mx
import numpy as np
import pandas as pd

from ..data import splits
from ..data.clicks import Clicks
from ..data.ratings import Ratings
from ..support.errors import ConfigError, DataError, NumericalError, UserError, check_whole
from ..support.interrupt import SignalWatch
from ..support.numbers import seconds_shown
from ..support.streams import Purpose, generator
from ..training.callbacks import Callback
from ..training.engine import start_mxnet
from ..training.history import EpochRecord, Score, best_epoch
from ..training.loop import ALONE
from ..training.progress import label_of
from .config import RunConfig, make_config
from .experiment import TASKS, TaskMaker, prepare
from .options import computing_options, shown
from .phases import validate
from .presets import Options
from .ranking_task import RankingTask, load_clicks
from .rating_task import RatingParts, RatingTask, load_and_split
from .search_space import Candidate, candidates_of
from .study import SharedFolder, load_optuna

TRIALS = 30  # by default
REPORTS = 20  # of a trial to the pruner, at most
# Half-way a trial with a high rate, or one that hides much of its input, is behind those that it
# beats at its end: only the worst quarter is pruned, and none in its first half.
PRUNED_BELOW, UNPRUNED = 75.0, 10
# The winner repeats its trial, with the test beside it, and is then refitted.
WINNER_FACTOR, WINNER_SECONDS = 1.2, 2.0
MANY_MINUTES = 1e6


class Parts(NamedTuple):
    """What a search is given: interactions without the test part, and who validates.

    Parameters
    ----------
    train : Ratings or Clicks
    validation : Ratings, optional
        None of the ratings of `train`. By default `val_ratio` of them.
    """

    train: Ratings | Clicks
    validation: Ratings | None = None


@dataclass(frozen=True)
class Tuned:
    """What a search has found.

    Parameters
    ----------
    options : dict
        Of the best trial, as `make_config` takes them.
    config : RunConfig
        The same, to be trained with `train_model`.
    trial : int
        The best trial's number, from 1.
    validation : float
        Its validation score.
    trials : DataFrame
        A row for each trial that has ended, in their order: number, state, model, preset,
        validation, best_epoch, epochs, seconds, options.
    importance : dict
        Option of the best model to its share in the spread of the scores; empty of few trials.
    is_last : bool
        Whether no other process is still at work in the search's folder.
    """

    options: Options
    config: RunConfig
    trial: int
    validation: float
    trials: pd.DataFrame = field(repr=False)
    importance: dict[str, float] = field(default_factory=dict, repr=False)
    is_last: bool = True


class Limits(NamedTuple):
    """When a search ends.

    Parameters
    ----------
    trials : int, optional
        After so many, of all processes.
    end : float, optional
        At this time, of `time.monotonic`.
    reserves : bool
        Whether time is kept for the winner's training.
    """

    trials: int | None
    end: float | None
    reserves: bool = False


def tune(
    config: RunConfig | Mapping[str, Any] | None = None,
    train: Ratings | Clicks | None = None,
    validation: Ratings | None = None,
    trials: int | None = None,
    minutes: float | None = None,
    devices: Sequence[mx.Context] | None = None,
    out: str | Path | None = None,
) -> Tuned:
    """Search for the options that suit some ratings, or clicks.

    Parameters
    ----------
    config : RunConfig or mapping, optional
        Options as `make_config` takes them: they are fixed, and the others of the model are
        searched. Of a configuration, those count that differ from its preset. By default
        AutoRec, matrix factorization and means are searched; of clicks Mult-DAE, Mult-VAE, EASE
        and popularity. `model` may name several, as in "autorec,mf".
    train : Ratings or Clicks, optional
        Without the test part. By default the training part of the data that `config` names.
    validation : Ratings, optional
        What decides, and none of `train`. By default a tenth of `train`, or `val_ratio`.
    trials : int, optional
        How many trainings, 30 by default.
    minutes : float, optional
        How long to search, in the place of `trials`.
    devices : sequence of Context, optional
        By default those that `config` names.
    out : path, optional
        A folder for the study: a search in the same folder goes on with it, and several
        processes share it. By default it is kept in memory.

    Returns
    -------
    Tuned
        `train_model(tuned.config, train, test)` then trains the best.

    Raises
    ------
    UserError
        If parameters do not fit each other, or no trial could be trained.
    Interrupted
        If SIGINT or SIGTERM asked to stop.
    """
    given, kind = _given(config, train)
    candidates = candidates_of(given, kind)
    limits = limits_of(trials, minutes, time.monotonic(), reserves=False)

    folder = None
    if out is not None:
        folder = Path(out)
    parts = None
    if train is not None:
        parts = Parts(train, validation)
    return Search(candidates, parts, devices).run(limits, folder)


def _given(
    config: RunConfig | Mapping[str, Any] | None, train: Ratings | Clicks | None
) -> tuple[Options, str]:
    """The options that are fixed, and the kind of models where none is named."""
    kind = "rating"
    if isinstance(train, Clicks):
        kind = "ranking"
    if config is None:
        return {}, kind
    if not isinstance(config, RunConfig):
        return dict(config), kind

    usual = make_config({"model": config.model, "preset": config.preset})
    differing = {
        name: value
        for name, value in vars(config).items()
        if value != getattr(usual, name) and value is not None
    }
    return {"model": config.model, **differing}, kind


def limits_of(
    trials: int | None, minutes: float | None, begin: float, reserves: bool = True
) -> Limits:
    """When a search ends that began at `begin`.

    Raises
    ------
    ConfigError
        If both limits are given, or one is out of range.
    """
    if trials is not None and minutes is not None:
        raise ConfigError("`trials` and `minutes` exclude each other: give one of them")
    if minutes is None:
        if trials is None:
            trials = TRIALS
        check_whole("trials", trials, at_least=1)
        return Limits(trials, None)

    if not 0 < minutes <= MANY_MINUTES:
        raise ConfigError(f"`minutes` is {minutes!r}: it must be above 0 and at most 1e6")
    return Limits(None, begin + 60 * minutes, reserves)


class Search:
    """A search with its data.

    Parameters
    ----------
    candidates : sequence of Candidate
        The models.
    parts : Parts, optional
        By default the training part of the data that the options name is read.
    devices : sequence of Context, optional
        By default those that the options name.
    say : callable, optional
        Is told of each trial in a line.

    Raises
    ------
    UserError
        If the data cannot be used.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        parts: Parts | None = None,
        devices: Sequence[mx.Context] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        load_optuna()  # says how to get it, before anything is read
        self.candidates = {candidate.model: candidate for candidate in candidates}
        self._first = candidates[0].base
        self._devices = devices
        self._say = say
        mx.npx.set_np()
        start_mxnet(self._first.threads, cpus=len(devices or ()) or self._first.cpus or 1)
        if parts is None:
            parts = Parts(_load(self._first))
        self._make_task = _task_maker(self._first, parts)
        self._about = self._identity(parts)
        self._folder = SharedFolder(None, {})

    @property
    def score(self) -> Score:
        """What decides."""
        return self._first.score

    def _identity(self, parts: Parts) -> dict[str, Any]:
        """What tells this search from others."""
        digests = [parts.train.fingerprint]
        if parts.validation is not None:
            digests.append(parts.validation.fingerprint)

        fixed = {}
        for model, candidate in self.candidates.items():
            computing = {"preset", *computing_options(candidate.base)} - {"threads"}
            fixed[model] = {
                name: shown(value) for name, value in candidate.fixed.items() if name in computing
            }
        return {"options": fixed, "data": digests}

    def run(self, limits: Limits, folder: Path | None = None) -> Tuned:
        """Try until a limit is reached; what was found, by this and by other processes.

        Parameters
        ----------
        limits : Limits
        folder : Path, optional
            Where the study is kept; by default in memory.

        Raises
        ------
        UserError
            If the folder cannot be used, or no trial could be trained.
        Interrupted
            If SIGINT or SIGTERM asked to stop.
        """
        self._folder = SharedFolder(folder, self._about)
        pruner = load_optuna().pruners.PercentilePruner(PRUNED_BELOW, n_warmup_steps=UNPRUNED)

        with self._folder as shared, SignalWatch(self._advice()) as watch:
            with shared.holding():
                study = shared.open_study(self.score.higher_is_better, pruner)

            while True:
                trial = self._next_trial(study, limits)
                if trial is None:
                    break
                self._try(trial, study, limits, watch)
                watch.check()

            with shared.holding():
                shared.leave()
                is_last = not shared.others()
        return self._tuned(study, is_last)

    def _advice(self) -> str:
        if self._folder.path is None:
            return "nothing was kept: give `out` a folder, and a search can be gone on with"
        return f"the same command with `out={self._folder.path}` goes on"

    def _next_trial(self, study: Any, limits: Limits) -> Any:
        """A trial with its options in its attributes; None where the search is over."""
        with self._folder.holding():
            if not study.get_trials(deepcopy=False):
                self._enqueue_presets(study)
            self._folder.begin_again(study)
            if self._is_over(study, limits):
                return None

            study.sampler = self._sampler(len(study.get_trials(deepcopy=False)))
            trial = study.ask()
            trial.set_user_attr("process", self._folder.name)
            candidate, options = self._options_of(trial)

            trial.set_user_attr("model", candidate.model)
            trial.set_user_attr("options", json.loads(json.dumps(options)))  # as the file has them
            return trial

    def _enqueue_presets(self, study: Any) -> None:
        """The bases of all models first, then their other presets."""
        for place in range(max(len(c.presets()) for c in self.candidates.values())):
            for candidate in self.candidates.values():
                names = candidate.presets()
                if place >= len(names):
                    continue

                point = {}
                if place == 0:
                    point = candidate.preset_parameters()
                marks = {"model": candidate.model, "preset": names[place]}
                study.enqueue_trial(self._with_model(point, candidate), user_attrs=marks)

    def _with_model(self, point: dict[str, Any], candidate: Candidate) -> dict[str, Any]:
        if len(self.candidates) == 1:
            return point
        return {"model": candidate.model, **point}

    def _sampler(self, number: int) -> Any:
        """TPE whose choices depend on the seed, the trials before and nothing else."""
        seeds = np.random.SeedSequence([self._first.seed, number])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `group`, for models with options of their own, is new
            return load_optuna().samplers.TPESampler(
                seed=int(seeds.generate_state(1)[0]),
                multivariate=True,
                group=True,
                constant_liar=True,
            )

    def _options_of(self, trial: Any) -> tuple[Candidate, Options]:
        marks = trial.user_attrs
        models = list(self.candidates)
        model = models[0]
        if len(models) > 1:
            model = trial.suggest_categorical("model", models)

        candidate = self.candidates[model]
        preset = marks.get("preset")
        if preset is None:
            return candidate, candidate.suggested_options(trial)
        if preset != candidate.base.preset:
            return candidate, candidate.preset_options(preset)
        return candidate, candidate.suggested_options(trial, candidate.preset_parameters())

    def _is_over(self, study: Any, limits: Limits) -> bool:
        states = load_optuna().trial.TrialState
        ended = study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED))
        running = study.get_trials(deepcopy=False, states=(states.RUNNING,))

        if limits.trials is not None:
            return len(ended) + len(running) >= limits.trials

        assert limits.end is not None  # there is one of the two limits
        deadline = min(self._deadline(study, limits), limits.end)
        return bool(ended) and time.monotonic() > deadline

    def _deadline(self, study: Any, limits: Limits) -> float:
        """From when on the time that is left is the winner's; never, before a trial is complete."""
        best = self._best(study)
        if limits.end is None or best is None:
            return math.inf
        if not limits.reserves:
            return limits.end
        return limits.end - winner_seconds(best.user_attrs)

    def _best(self, study: Any) -> Any:
        """The best complete trial; None where there is none."""
        states = load_optuna().trial.TrialState
        complete = study.get_trials(deepcopy=False, states=(states.COMPLETE,))
        if not complete:
            return None

        sign = 1
        if self.score.higher_is_better:
            sign = -1
        return min(complete, key=lambda trial: (sign * trial.value, trial.number))

    def _try(self, trial: Any, study: Any, limits: Limits, watch: SignalWatch) -> None:
        """Train, and tell the study how it went."""
        optuna = load_optuna()
        options = trial.user_attrs["options"]
        pruning = Pruning(trial, self.score, self._deadline(study, limits))
        begin = time.perf_counter()

        try:
            config = make_config({**options, "quiet": True})
            experiment = prepare(config, ALONE, self._make_task, self._devices)
            pruning.epochs = experiment.task.epochs
            history = validate(experiment, watch, [pruning])
        except (optuna.TrialPruned, NumericalError, UserError, MemoryError) as error:
            seconds = time.perf_counter() - begin
            self._tell(study, trial, None, {"seconds": seconds, "why": str(error)})
            return

        best = best_epoch(history, self.score)
        assert best is not None  # each first phase here is validated
        value = history[best - 1].validation[self.score.metric]
        found = {
            "seconds": time.perf_counter() - begin,
            "best_epoch": best,
            "epochs": len(history),
        }
        self._tell(study, trial, value, found)

    def _tell(self, study: Any, trial: Any, value: float | None, found: dict[str, Any]) -> None:
        """Write how a trial ended, and say it."""
        states = load_optuna().trial.TrialState
        for name, what in found.items():
            trial.set_user_attr(name, what)

        if value is None:
            study.tell(trial, state=states.PRUNED)
            outcome = found["why"]
        else:
            study.tell(trial, value)
            outcome = (
                f"validation {label_of(self.score.metric)} {value:.4f} at epoch "
                f"{found['best_epoch']} of {found['epochs']}"
            )
        if self._say is not None:
            what = described(trial.user_attrs["options"], self.candidates)
            seconds = seconds_shown(found["seconds"])
            self._say(f"trial {trial.number + 1}: {outcome}, {seconds} s ({what})")

    def _tuned(self, study: Any, is_last: bool) -> Tuned:
        best = self._best(study)
        states = load_optuna().trial.TrialState
        trials = study.get_trials(states=(states.COMPLETE, states.PRUNED))
        if best is None:
            reasons = [trial.user_attrs.get("why", "") for trial in trials]
            raise DataError(f"none of the {len(trials)} trials could be trained: {reasons[0]}")

        options = best.user_attrs["options"]
        return Tuned(
            options,
            make_config(options),
            best.number + 1,
            best.value,
            _frame(trials),
            self._importance(study, best),
            is_last,
        )

    def _importance(self, study: Any, best: Any) -> dict[str, float]:
        """How much each option of the best model mattered (PED-ANOVA); of few trials nothing."""
        optuna = load_optuna()
        candidate = self.candidates[best.user_attrs["model"]]
        names = [candidate.parameter(option) for option in candidate.spaces]
        complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        known = [trial for trial in complete if set(names) <= trial.params.keys()]
        if len(known) < 2 * len(names) or len(names) < 2:
            return {}

        shares = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), params=names
        )
        return {name.split(".", 1)[1]: share for name, share in shares.items()}


class Pruning(Callback):
    """Ends a trial that is worse than others were at that point, or when time is up.

    Parameters
    ----------
    trial : optuna.Trial
    score : Score
    deadline : float
        When time is up, of `time.monotonic`.

    Attributes
    ----------
    epochs : int
        How many the trial has at most.
    """

    def __init__(self, trial: Any, score: Score, deadline: float) -> None:
        self._trial = trial
        self._score = score
        self._deadline = deadline
        self._reported = 0
        self.epochs = 1

    def on_epoch_end(self, training: Any) -> None:
        record: EpochRecord = training.history[-1]
        if time.monotonic() > self._deadline:
            raise load_optuna().TrialPruned(f"time was up at epoch {record.epoch} of {self.epochs}")

        step = REPORTS * record.epoch // self.epochs
        if step <= self._reported or not record.validation:
            return

        self._reported = step
        self._trial.report(record.validation[self._score.metric], step)
        if self._trial.should_prune():
            raise load_optuna().TrialPruned(f"pruned at epoch {record.epoch} of {self.epochs}")


def winner_seconds(attributes: Mapping[str, Any]) -> float:
    """About how long a trial's options take to train, test and refit."""
    share = attributes["best_epoch"] / attributes["epochs"]
    return WINNER_FACTOR * attributes["seconds"] * (1 + share) + WINNER_SECONDS


def described(options: Options, candidates: Mapping[str, Candidate]) -> str:
    """The options of a trial that are its own."""
    candidate = candidates[options["model"]]
    own = [
        f"{name} {shown(value)}"
        for name, value in options.items()
        if name not in candidate.fixed and name != "preset"
    ]
    return ", ".join([options["model"], options["preset"], *own])


def _frame(trials: Sequence[Any]) -> pd.DataFrame:
    rows = []
    for trial in trials:
        attributes = trial.user_attrs
        value = trial.value
        if trial.state.name != "COMPLETE":
            value = None
        rows.append(
            {
                "trial": trial.number + 1,
                "state": trial.state.name.lower(),
                "model": attributes["model"],
                "preset": attributes.get("preset"),
                "validation": value,
                "best_epoch": attributes.get("best_epoch"),
                "epochs": attributes.get("epochs"),
                "seconds": attributes["seconds"],
                "options": attributes["options"],
            }
        )
    return pd.DataFrame(rows)


def _load(config: RunConfig) -> Ratings | Clicks:
    """The training part of the data that the options name."""
    if TASKS[config.model] is RankingTask:
        return load_clicks(config)  # type: ignore[arg-type]
    train, _ = load_and_split(config)  # type: ignore[arg-type]
    return train


def _task_maker(config: RunConfig, parts: Parts) -> TaskMaker:
    """What makes a trial's task; validation stands in the place of a test, which is not made."""
    train, validation = parts
    ranks = TASKS[config.model] is RankingTask
    if ranks != isinstance(train, Clicks):
        wanted = "Ratings"
        if ranks:
            wanted = "Clicks, as prepare_clicks makes them"
        raise ConfigError(
            f"train is a {type(train).__name__}: `model={config.model}` needs {wanted}"
        )
    if isinstance(train, Clicks):
        if validation is not None:
            raise ConfigError("validation: Clicks hold these users already; leave it out")
        return partial(RankingTask, clicks=train)

    if validation is None:
        rng = generator(config.seed, Purpose.VALIDATION)
        train, validation = splits.random_split(train, config.val_ratio, rng)  # type: ignore[attr-defined]
    return partial(RatingTask, parts=RatingParts(train, validation, validation))
