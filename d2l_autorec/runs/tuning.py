"""A search for the options that suit the data at hand.

    options -> candidates -> trials, each a training measured by validation -> the best options

Optuna proposes (TPE) and prunes; the first trials are the presets. Validation ratings, or
validation users, decide; the test part is never looked at here.
"""

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import mxnet as mx
import numpy as np
import pandas as pd

from ..data import splits
from ..data.clicks import Clicks
from ..data.ratings import Ratings
from ..models.kinds import RunConfig
from ..models.options import Options, computing_options, shown
from ..models.registry import make_config
from ..support.errors import ConfigError, DataError, NumericalError, UserError, check_whole
from ..support.files import telling_damage
from ..support.numbers import seconds_shown
from ..support.seeds import Purpose, generator
from ..support.signals import SignalWatch
from ..training.callbacks import Callback
from ..training.engine import start_mxnet
from ..training.history import EpochRecord, Score, best_epoch
from ..training.progress import label_of
from .ranking import load_clicks
from .rating import RatingParts, load_and_split
from .runner import KINDS
from .search_space import Candidate, candidates_of
from .study import STUDY, SharedFolder, load_optuna

TRIALS = 30  # by default
REPORTS = 20  # of a trial to the pruner, at most
# Half-way a trial with a high rate, or one that hides much of its input, is behind those that it
# beats at its end: only the worst quarter is pruned, and none in its first half.
PRUNED_BELOW, UNPRUNED = 75.0, 10
# The winner repeats its trial, with the test beside it, and is then refitted.
WINNER_FACTOR, WINNER_SECONDS = 1.2, 2.0
MANY_MINUTES = 1e6
PAUSE = 0.5  # seconds between two looks at what other processes do


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

    parts = None if train is None else Parts(train, validation)
    return Search(candidates, parts, devices).run(limits, None if out is None else Path(out))


def _given(
    config: RunConfig | Mapping[str, Any] | None, train: Ratings | Clicks | None
) -> tuple[Options, str]:
    """The options that are fixed, and the kind of models where none is named."""
    kind = "ranking" if isinstance(train, Clicks) else "rating"
    if config is None:
        return {}, kind
    if not isinstance(config, RunConfig):
        return dict(config), kind

    usual = make_config({"model": config.model, "preset": config.preset})
    differing = {
        name: value
        for name, value in asdict(config).items()
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
        trials = TRIALS if trials is None else trials
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
        self._states = load_optuna().trial.TrialState  # says how to get it before data are read
        self.candidates = {candidate.model: candidate for candidate in candidates}
        self._first = candidates[0].base
        self._devices = devices
        self._say = say
        mx.npx.set_np()
        start_mxnet(self._first.threads, cpus=len(devices or ()) or self._first.cpus or 1)

        parts = parts or Parts(_load(self._first))
        self._data = _data_of(self._first, parts)
        self._about = self._identity(parts)
        self._study: Any = None

    @property
    def score(self) -> Score:
        """What decides."""
        return self._first.score

    def _identity(self, parts: Parts) -> dict[str, Any]:
        """Return what tells this search from others."""
        fixed = {}
        for model, candidate in self.candidates.items():
            computing = {"preset", *computing_options(candidate.base)} - {"threads"}
            fixed[model] = {
                name: shown(value) for name, value in candidate.fixed.items() if name in computing
            }
        return {"options": fixed, "data": [part.fingerprint for part in parts if part is not None]}

    def run(self, limits: Limits, folder: Path | None = None) -> Tuned:
        """Try until a limit is reached; return what this and other processes have found.

        Optuna's `ask` and `tell`, and not its `optimize`, which has no place for a lock: of
        several processes none may count the trials while another one begins one.

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
        advice = "nothing was kept: give `out` a folder, and a search can be gone on with"
        if folder is not None:
            advice = f"the same command with `out={folder}` goes on"

        with SharedFolder(folder, self._about) as shared, SignalWatch(advice) as watch:
            with shared.holding(), self._telling_damage(shared):
                self._open(shared)

            while True:
                with shared.holding(), self._telling_damage(shared):
                    alone = shared.is_alone()
                    trial = self._next_trial(limits, alone)
                    ends = trial is None and (alone or self._best() is not None)
                    if ends:  # while the list is held: of two that end, one is the last
                        shared.leave()

                if ends:
                    return self._tuned(alone)
                if trial is None:
                    time.sleep(PAUSE)  # another process is at the first trial
                else:
                    self._try(trial, limits, watch)
                watch.check()

    def _open(self, shared: SharedFolder) -> None:
        """Open the study, and read all that is asked of it later."""
        direction = "maximize" if self.score.higher_is_better else "minimize"
        pruner = load_optuna().pruners.PercentilePruner(PRUNED_BELOW, n_warmup_steps=UNPRUNED)
        self._study = shared.open_study(direction, pruner)

        for trial in self._trials("COMPLETE", "PRUNED"):
            self._check(trial)

    def _check(self, trial: Any) -> None:
        """Raise unless what is asked of a trial later can be had of it."""
        about = trial.user_attrs
        numbers = [about["seconds"], *trial.intermediate_values.values()]
        if trial.state == self._states.COMPLETE:
            numbers += [trial.value, about["best_epoch"], about["epochs"]]

        readable = np.isfinite(numbers).all() and about["model"] in self.candidates
        try:
            make_config(about["options"])
        except ConfigError as error:
            raise ValueError(f"trial {trial.number + 1}: {error}") from error
        if not readable:
            raise ValueError(f"trial {trial.number + 1} cannot be read")

    @contextmanager
    def _telling_damage(self, shared: SharedFolder) -> Iterator[None]:
        if shared.path is None:
            yield
            return
        way_out = "restore it from a copy, or begin a new search with `out`"
        with telling_damage(shared.path / STUDY, way_out):
            yield

    def _trials(self, *states: str) -> list[Any]:
        wanted = tuple(self._states[state] for state in states)
        return self._study.get_trials(deepcopy=False, states=wanted)

    def _next_trial(self, limits: Limits, alone: bool) -> Any:
        """Return a trial with its options in its attributes; None where the search is over."""
        if alone:  # whoever ran these is gone: they are begun again, as if they never had
            for lost in self._trials("RUNNING"):
                self._study.tell(lost.number, state=self._states.FAIL)
        if self._is_over(limits):
            return None

        begun = self._trials("COMPLETE", "PRUNED", "RUNNING")
        there = {tuple(trial.user_attrs.get("start", ())) for trial in begun}
        self._study.sampler = self._sampler(len(begun))
        start = next((start for start in self._starts() if start not in there), None)
        if start is not None and not self._trials("WAITING"):
            self._enqueue(*start)

        trial = self._study.ask()
        candidate, options = self._options_of(trial)
        trial.set_user_attr("model", candidate.model)
        trial.set_user_attr("options", json.loads(json.dumps(options)))  # as the file has them
        return trial

    def _starts(self) -> Iterator[tuple[str, str]]:
        """Yield model and preset: the bases of all models first, then their other presets."""
        presets = [[(model, name) for name in c.presets()] for model, c in self.candidates.items()]
        for starts in zip_longest(*presets):
            yield from filter(None, starts)

    def _enqueue(self, model: str, preset: str) -> None:
        candidate = self.candidates[model]
        point = candidate.preset_parameters() if preset == candidate.base.preset else {}
        if len(self.candidates) > 1:
            point["model"] = model
        self._study.enqueue_trial(point, user_attrs={"start": [model, preset], "preset": preset})

    def _sampler(self, begun: int) -> Any:
        """Return TPE whose choices depend on seed and trials before it, and on nothing else.

        Above all not on trials that were lost, so that a search that was killed goes on as it
        would have.
        """
        seeds = np.random.SeedSequence([self._first.seed, begun])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `group`, for models with options of their own, is new
            return load_optuna().samplers.TPESampler(
                seed=int(seeds.generate_state(1)[0]),
                multivariate=True,
                group=True,
                constant_liar=True,
            )

    def _options_of(self, trial: Any) -> tuple[Candidate, Options]:
        models = list(self.candidates)
        model = trial.suggest_categorical("model", models) if len(models) > 1 else models[0]

        candidate = self.candidates[model]
        preset = trial.user_attrs.get("preset")
        if preset is None:
            return candidate, candidate.suggested_options(trial)
        if preset != candidate.base.preset:
            return candidate, candidate.preset_options(preset)
        return candidate, candidate.suggested_options(trial, candidate.preset_parameters())

    def _is_over(self, limits: Limits) -> bool:
        ended = len(self._trials("COMPLETE", "PRUNED"))
        if limits.trials is not None:
            return ended + len(self._trials("RUNNING")) >= limits.trials
        return ended > 0 and time.monotonic() > min(self._deadline(limits), limits.end or math.inf)

    def _deadline(self, limits: Limits) -> float:
        """From when on the time that is left is the winner's; never, before a trial is complete."""
        best = self._best()
        if limits.end is None or best is None:
            return math.inf
        return limits.end - (winner_seconds(best.user_attrs) if limits.reserves else 0)

    def _best(self) -> Any:
        """Return the best complete trial; None where there is none."""
        sign = -1 if self.score.higher_is_better else 1
        complete = self._trials("COMPLETE")
        return min(complete, key=lambda trial: (sign * trial.value, trial.number), default=None)

    def _try(self, trial: Any, limits: Limits, watch: SignalWatch) -> None:
        """Train, tell the study how it went, and say it."""
        options = trial.user_attrs["options"]
        pruning = Pruning(trial, self.score, self._deadline(limits))
        begin = time.perf_counter()
        value = None

        try:
            config = make_config({**options, "quiet": True})
            experiment = KINDS[config.task](config, self._data, self._devices)
            pruning.epochs = experiment.most_epochs()
            history = experiment.validate(watch, [pruning])
        except (load_optuna().TrialPruned, NumericalError, UserError, MemoryError) as error:
            outcome = str(error)
            found: dict[str, Any] = {"why": outcome}
        else:
            best = best_epoch(history, self.score) or len(history)
            value = history[best - 1].validation[self.score.metric]
            found = {"best_epoch": best, "epochs": len(history)}
            label = label_of(self.score.metric)
            outcome = f"validation {label} {value:.4f} at epoch {best} of {len(history)}"

        seconds = time.perf_counter() - begin
        for name, what in {**found, "seconds": seconds}.items():
            trial.set_user_attr(name, what)
        state = self._states.PRUNED if value is None else self._states.COMPLETE
        self._study.tell(trial, value, state)

        if self._say is not None:
            what = described(options, self.candidates)
            self._say(f"trial {trial.number + 1}: {outcome}, {seconds_shown(seconds)} s ({what})")

    def _tuned(self, is_last: bool) -> Tuned:
        best = self._best()
        trials = self._trials("COMPLETE", "PRUNED")
        if best is None:
            why = trials[0].user_attrs.get("why", "")
            raise DataError(f"none of the {len(trials)} trials could be trained: {why}")

        options = best.user_attrs["options"]
        importance = self._importance(self.candidates[best.user_attrs["model"]])
        return Tuned(
            options,
            make_config(options),
            best.number + 1,
            best.value,
            _frame(trials),
            importance,
            is_last,
        )

    def _importance(self, candidate: Candidate) -> dict[str, float]:
        """Return how much each option of a model mattered (PED-ANOVA); of few trials nothing."""
        names = [candidate.parameter(option) for option in candidate.spaces]
        known = [trial for trial in self._trials("COMPLETE") if {*names} <= trial.params.keys()]
        if len(known) < 2 * len(names) or len(names) < 2:
            return {}

        importance = load_optuna().importance
        shares = importance.get_param_importances(
            self._study, evaluator=importance.PedAnovaImportanceEvaluator(), params=names
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
    """Return what is known of trials; see `Tuned`."""
    rows = []
    for trial in trials:
        row: dict[str, Any] = {"trial": trial.number + 1, "state": trial.state.name.lower()}
        row |= {"model": trial.user_attrs["model"], "preset": trial.user_attrs.get("preset")}
        row["validation"] = trial.value if row["state"] == "complete" else None
        row |= {name: trial.user_attrs.get(name) for name in ("best_epoch", "epochs")}
        row |= {name: trial.user_attrs[name] for name in ("seconds", "options")}
        rows.append(row)
    return pd.DataFrame(rows)


def _load(config: RunConfig) -> Ratings | Clicks:
    """Read the training part of the data that the options name."""
    if config.task == "ranking":
        return load_clicks(config)  # type: ignore[arg-type]
    train, _ = load_and_split(config)  # type: ignore[arg-type]
    return train


def _data_of(config: RunConfig, parts: Parts) -> RatingParts | Clicks:
    """Return a trial's data; there is no test."""
    train, validation = parts
    ranks = config.task == "ranking"
    if ranks != isinstance(train, Clicks):
        wanted = "Clicks, as prepare_clicks makes them" if ranks else "Ratings"
        raise ConfigError(
            f"train is a {type(train).__name__}: `model={config.model}` needs {wanted}"
        )
    if isinstance(train, Clicks):
        if validation is not None:
            raise ConfigError("validation: Clicks hold these users already; leave it out")
        if not train.validation_users:
            raise ConfigError(
                "validation users decide a search, and there are none: add `validation_users=0.1`"
            )
        return train

    if validation is None:
        rng = generator(config.seed, Purpose.VALIDATION)
        share = config.val_ratio  # type: ignore[attr-defined]
        train, validation = splits.validation_split(
            train, share, rng, "raise it, or give more ratings"
        )
    _, no_test = splits.all_to_train(train)
    return RatingParts(train, no_test, validation)
