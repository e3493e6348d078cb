"""The rounds of a tuning: for all methods one plan each, of ordinary trials on parts of the training clips.

A file for each method (`petl_bench.records.tunings`) tells after every round how far it is. What a file tells of a
proposal that has ended is taken over: a tuning that was stopped goes on, with the same proposals, to the same choice.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from petl_bench.api.launcher import AttemptResult, Job
from petl_bench.api.options import text_of
from petl_bench.api.registry import METHODS
from petl_bench.api.trial import Trial, canonical_json
from petl_bench.api.tuning import RATE, Space, metric_of, training_field
from petl_bench.api.values.named_folders import name_of
from petl_bench.errors import TrialStopped, UsageError
from petl_bench.records.tunings import Applied, Proposal, Tuning, read_tuning, tuning_file, write_tuning
from petl_bench.records.verify import proposal_fault
from petl_bench.running.planning.plan import Plan, plan
from petl_bench.running.planning.spec import Spec
from petl_bench.system.commands import tune_command
from petl_bench.system.stored_json import UnusableError, tell_unusable
from petl_bench.tuning.choice import best, choose, judged
from petl_bench.tuning.options import TuningOptions
from petl_bench.tuning.sampler import Axis, axes_of, propose, sampler_name
from petl_bench.tuning.space import declared_space, parse_spaces, space_text, value_in

#: Runs the trials of a plan; how each of them ended.
Launch = Callable[[Plan], Iterable[AttemptResult]]
Tell = Callable[[str], None]


@dataclass
class Tuned:
    """A method that is tuned, and how far its tuning is."""

    tuning: Tuning
    axes: tuple[Axis, ...]
    recipe: Mapping[str, Any]
    metric: str  #: of its trials, the objective
    trials: int  #: of every proposal
    ended: Mapping[int, Proposal]  #: those that an earlier command brought to their end

    @property
    def method(self) -> str:
        """Its name."""
        return self.tuning.method


@dataclass(frozen=True)
class Search:
    """What is tuned: a run as asked for, the same without methods that have nothing to tune, and the plan of the
    recipes' trials."""

    asked: Spec
    spec: Spec  #: of its trials
    options: TuningOptions
    first: Plan
    tuned: tuple[Tuned, ...]
    left_out: Mapping[str, str]  #: method -> why it has nothing to tune

    def command(self) -> str:
        """The command that asks for the same tuning."""
        return tune_command([*self.asked.arguments(), *self.options.arguments()])


def prepare(asked: Spec, options: TuningOptions, *, rehearsal: bool = False) -> Search:
    """Find what there is to tune, and read how far it is; nothing is written.

    With `rehearsal` it is counted without the files of published data sets or weights (`plan`), and cannot be run.

    Raises UsageError if no method has anything to tune, for a space that a method's fields cannot have, and what
    `plan` raises.
    """
    _refuse_other_runs(asked)
    if asked.forgetting:
        plan(asked, rehearsal=rehearsal)  # what the final run would refuse is refused before anything is tuned
    seeds = options.seeds(asked.seeds)
    spec = replace(asked, seeds=seeds, keep_adapters="none")
    first = plan(spec, rehearsal=rehearsal, tuning=options.partitions)
    jobs = _by_method(first.jobs)
    nothing = {name: why for name, found in jobs.items() if (why := _nothing_to_tune(name, found, first, options))}
    methods = tuple(name for name in jobs if name not in nothing)
    if not methods:
        reasons = "; ".join(f"{name} has nothing to tune: {why}" for name, why in nothing.items())
        raise UsageError(f"{reasons}. Name other methods in --methods")
    said = parse_spaces(options.space, methods)
    tuned = tuple(_tuned(asked, options, jobs[name], _space(jobs[name], first, said[name])) for name in methods)
    kept = tuple(job for name in methods for job in jobs[name])
    return Search(asked, replace(spec, methods=methods), options, replace(first, jobs=kept), tuned, nothing)


def tune(search: Search, launch: Launch, tell: Tell) -> list[Tuning]:
    """Make the proposals of every round, run them, and choose; the finished tunings, which are written too.

    Raises TrialStopped if trials were stopped or cancelled, and TrialError if a method has no objective at all.
    """
    output = search.first.output
    size = search.options.round_size
    for number in range(math.ceil(search.options.trials / size)):
        count = min(size, search.options.trials - number * size)
        _run_round(search, number, count, launch)
        for each in search.tuned:
            tell(_so_far(number, each.tuning))
    for each in search.tuned:
        chosen = choose(each.method, each.tuning.proposals)
        each.tuning = replace(each.tuning, chosen=chosen.number)
    applied = _applied(final_spec(search))
    for each in search.tuned:
        each.tuning = replace(each.tuning, applied=applied[each.method])
        write_tuning(output, each.tuning)
    return [each.tuning for each in search.tuned]


def final_spec(search: Search) -> Spec:
    """The run that was asked for, with the values that were chosen; methods that are not tuned are part of it."""
    best_ones = [(each.method, each.tuning.best) for each in search.tuned]
    chosen = [text for method, found in best_ones if found for text in set_texts(method, found.values)]
    return replace(search.asked, set=(*search.asked.set, *chosen))


def set_texts(method: str, values: Mapping[str, Any]) -> list[str]:
    """The values of a proposal as `--set` takes them."""
    return [f"{method}.{name}={text_of(value)}" for name, value in values.items()]


def _run_round(search: Search, number: int, count: int, launch: Launch) -> None:
    """Propose, run and judge; the tunings have the proposals of this round afterwards."""
    made = {each.method: _proposed(each, search.options.seed, number, count) for each in search.tuned}
    planned = plan(_round_spec(search, made, count), tuning=search.options.partitions)
    jobs = _by_method(planned.jobs)
    for each in search.tuned:
        keyed = [_with_trials(proposal, jobs[each.method]) for proposal in made[each.method]]
        made[each.method] = [_as_ended(proposal, each.ended) for proposal in keyed]
        _add(each, made[each.method])
    wanted = {
        key for found in made.values() for proposal in found if not _has_ended(proposal) for key in proposal.trials
    }
    if not wanted:
        return
    _write(search)
    results = {each.key: each for each in launch(_part(planned, wanted))}
    if stopped := [each for each in results.values() if each.state not in ("done", "failed")]:
        raise TrialStopped(
            f"{len(stopped)} trials of the tuning have not ended; {stopped[0].title}: {stopped[0].reason}"
        )
    for each in search.tuned:
        judgement = [
            proposal if _has_ended(proposal) else judged(proposal, results, each.metric)
            for proposal in made[each.method]
        ]
        _add(each, judgement)
    _write(search)


def _write(search: Search) -> None:
    for each in search.tuned:
        if any(not _has_ended(proposal) or proposal.number not in each.ended for proposal in each.tuning.proposals):
            write_tuning(search.first.output, each.tuning)


def _proposed(each: Tuned, seed: int, number: int, count: int) -> list[Proposal]:
    before = each.tuning.proposals
    values = propose(each.axes, each.recipe, before, seed, each.method, number, count)
    return [Proposal(number=len(before) + place, round=number, values=found) for place, found in enumerate(values)]


def _round_spec(search: Search, made: Mapping[str, Sequence[Proposal]], count: int) -> Spec:
    """One variant for each place in the round, with the values of every method; one that has no more proposals is
    there by its recipe, whose trials have ended."""
    variants = []
    for place in range(count):
        texts: list[str] = []
        for each in search.tuned:
            found = made[each.method]
            texts += set_texts(each.method, found[place].values if place < len(found) else each.recipe)
        variants.append(tuple(texts))
    return replace(search.spec, variants=tuple(variants))


def _with_trials(proposal: Proposal, jobs: Sequence[Job]) -> Proposal:
    wanted = canonical_json(dict(proposal.values))
    keys = [
        job.trial.key
        for job in jobs
        if canonical_json({name: value_in(job.trial, name) for name in proposal.values}) == wanted
    ]
    return replace(proposal, trials=tuple(keys))


def _as_ended(proposal: Proposal, ended: Mapping[int, Proposal]) -> Proposal:
    """A proposal as an earlier command left it, if that one was the same."""
    before = ended.get(proposal.number)
    if before is None or (before.values, tuple(before.trials)) != (proposal.values, proposal.trials):
        return proposal
    return before


def _has_ended(proposal: Proposal) -> bool:
    return proposal.objective is not None or bool(proposal.fault)


def _add(each: Tuned, proposals: Sequence[Proposal]) -> None:
    """Put proposals into a tuning, in the place of those with their numbers."""
    by_number = {proposal.number: proposal for proposal in (*each.tuning.proposals, *proposals)}
    each.tuning = replace(each.tuning, proposals=tuple(by_number.values()))


def _part(planned: Plan, keys: set[str]) -> Plan:
    return replace(planned, jobs=tuple(job for job in planned.jobs if job.trial.key in keys))


def _so_far(number: int, tuning: Tuning) -> str:
    found = best(tuning.proposals)
    if found is None:
        return f"round {number + 1}: {tuning.method}: no proposal has an objective so far"
    values = " ".join(f"{name}={text_of(value)}" for name, value in found.values.items())
    return (
        f"round {number + 1}: {tuning.method}: {len(tuning.proposals)} of {tuning.budget} proposals, best so far "
        f"{found.objective:.2f} with {values}"
    )


def _applied(final: Spec) -> dict[str, tuple[Applied, ...]]:
    """What the chosen values give in a run with them, by method. Its trials are planned, and none is run."""
    found: dict[str, dict[str, Applied]] = {}
    for job in plan(final, rehearsal=True).jobs:
        trial = job.trial
        applied = Applied(dataset=trial.dataset, hyper_parameters=trial.hyper_parameters, training=trial.training)
        text = canonical_json([trial.dataset, trial.hyper_parameters, trial.training])
        found.setdefault(trial.method, {})[text] = applied
    return {method: tuple(configurations.values()) for method, configurations in found.items()}


def _refuse_other_runs(spec: Spec) -> None:
    if spec.variants:
        raise UsageError("--variant: a tuning makes the alternatives itself; say what is tried with --space")
    if spec.force:
        raise UsageError("--force: a tuning takes what is recorded; name another folder with --output to do it again")
    if spec.select == "best-on-test":
        raise UsageError("--select best-on-test: a tuning never looks at test clips; leave it out, or use val")


def _by_method(jobs: Iterable[Job]) -> dict[str, list[Job]]:
    found: dict[str, list[Job]] = {}
    for job in jobs:
        found.setdefault(job.trial.method, []).append(job)
    return found


def _nothing_to_tune(name: str, jobs: Sequence[Job], first: Plan, options: TuningOptions) -> str:
    """Why a method has nothing to tune, in words; "" if it has."""
    if options.objective != "held-out" and METHODS.get(name).novel == "none":
        return f"it scores the classes that it was trained on alone, and --objective {options.objective} needs others"
    said = {text.split("=")[0] for text in options.space}
    fields = [text.removeprefix(f"{name}.") for text in said if text.startswith(f"{name}.")]
    if not _trains(jobs, first):
        has_some = _declared(jobs, first) or not all(map(training_field, fields))
        return "" if has_some else "it trains nothing, and declares no space"
    return "" if _declared(jobs, first) or fields or RATE in said else "its learning rate here is 0"


def _declared(jobs: Sequence[Job], first: Plan) -> dict[str, Space]:
    return declared_space(jobs[0].trial, _trains(jobs, first))


def _space(jobs: Sequence[Job], first: Plan, said: Mapping[str, Space]) -> dict[str, Space]:
    """What a method declares, and over it what `--space` says; of a method that trains nothing, no training value."""
    of_use = {name: values for name, values in said.items() if _trains(jobs, first) or not training_field(name)}
    return {**_declared(jobs, first), **of_use}


def _trains(jobs: Sequence[Job], first: Plan) -> bool:
    trial = jobs[0].trial
    return first.trainable[trial.key] > 0 and trial.training["epochs"] > 0


def _tuned(spec: Spec, options: TuningOptions, jobs: Sequence[Job], space: Mapping[str, Space]) -> Tuned:
    trial = jobs[0].trial
    if trial.training["select"] == "best-on-test":
        raise UsageError(f"{trial.method}: training.select=best-on-test looks at test clips, and a tuning never does")
    output = Path(spec.output).expanduser()
    tuning = _read(output, _new_tuning(spec, options, [job.trial for job in jobs], space))
    return Tuned(
        tuning=replace(tuning, proposals=(), chosen=None, applied=()),
        axes=axes_of(space, METHODS.get(trial.method)),
        recipe={name: value_in(trial, name) for name in space},
        metric=metric_of(options.objective, "retrieval" if trial.captions_sha256 else "classification"),
        trials=len(jobs),
        ended={proposal.number: proposal for proposal in _sound(output, tuning)},
    )


def _read(output: Path, tuning: Tuning) -> Tuning:
    """A tuning as far as it is."""
    path = tuning_file(output, tuning)
    try:
        return replace(read_tuning(path), command=tuning.command)
    except FileNotFoundError:
        return tuning
    except UnusableError as error:
        tell_unusable(path, f"{error}; it is written anew")
        return tuning


def _sound(output: Path, tuning: Tuning) -> Iterator[Proposal]:
    """The proposals that have ended; one that its trials' records contradict is told, and judged anew."""
    for proposal in filter(_has_ended, tuning.proposals):
        if fault := proposal_fault(output, tuning, proposal):
            tell_unusable(tuning_file(output, tuning), f"{fault}; it is judged anew")
        else:
            yield proposal


def _new_tuning(spec: Spec, options: TuningOptions, trials: Sequence[Trial], space: Mapping[str, Space]) -> Tuning:
    trial = trials[0]
    alone = replace(
        spec,
        methods=(trial.method,),
        output=Spec.output,
        launcher=Spec.launcher,
        workers=Spec.workers,
        profile=Spec.profile,
        device=Spec.device,
        track=Spec.track,
    )
    return Tuning(
        method=trial.method,
        method_version=trial.method_version,
        setting=trial.setting,
        setting_options=trial.setting_options,
        datasets=tuple(dict.fromkeys(map(name_of, spec.datasets))),
        backbone=trial.backbone,
        backbone_options=trial.backbone_options,
        weights_sha256=trial.weights_sha256,
        objective=options.objective,
        budget=options.trials,
        splits=tuple(dict.fromkeys(each.split for each in trials)),
        shots=tuple(dict.fromkeys(each.shots for each in trials if each.shots is not None)),
        seeds=tuple(dict.fromkeys(each.seed for each in trials)),
        draws=options.draws,
        round_size=options.round_size,
        sampler=sampler_name(),
        seed=options.seed,
        space={name: space_text(values) for name, values in space.items()},
        base=hashlib.sha256(canonical_json(sorted(each.key for each in trials)).encode()).hexdigest(),
        command=tune_command([*alone.arguments(), *options.arguments()]),
    )
