"""`petl-bench tune`: the same budget of proposals for every method, on training clips alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from petl_bench.cli.choices import OneOf
from petl_bench.cli.run_options import numbers, repeated, run_options
from petl_bench.errors import TrialError, TrialStopped
from petl_bench.system.texts import lines
from petl_bench.system.words import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from petl_bench.api.launcher import AttemptResult
    from petl_bench.records.tunings import Proposal, Tuning
    from petl_bench.running.planning.plan import Plan
    from petl_bench.tuning.rounds import Search, Tell

#: Of `run`, what a tuning has no use for.
_NOT_FOR_TUNINGS = ("--variant", "--detach", "--force")


@click.command(name="tune")
@click.option("--trials", type=int, metavar="N", help="Proposals for each method, the recipe among them.")
@click.option("--objective", type=OneOf(["held-out", "pseudo-novel", "pseudo-hm"]),
              help="Accuracy on held-out training clips, held-out training classes, or both.  [held-out]")  # fmt: skip
@click.option("--space", multiple=True, metavar="NAME.FIELD=VALUES", callback=repeated,
              help="LOW..HIGH[:log|:linear] or a,b,c; of a method, or training.FIELD for all. Repeatable.")  # fmt: skip
@click.option("--draws", type=int, metavar="N", help="Partitions of the training clips for each case.  [1]")
@click.option("--round-size", type=int, metavar="N", help="Proposals that are made together.  [4]")
@click.option("--seed", type=int, metavar="N", help="Of the sampler that makes the proposals.  [0]")
@click.option("--tuning-seeds", metavar="3-5", callback=numbers,
              help="Seeds of the tuning; --seeds are of the final run.  [as many, those that follow]")  # fmt: skip
@run_options(*_NOT_FOR_TUNINGS)
def command(
    spec: Path | None,
    dry_run: bool,
    trials: int | None,
    objective: str | None,
    space: tuple[str, ...] | None,
    draws: int | None,
    round_size: int | None,
    seed: int | None,
    tuning_seeds: tuple[int, ...] | None,
    **flags: Any,
) -> int:
    """Search values for methods, with the same number of proposals for each, and write the spec of the final run.

    Every proposal is trained on a part of the training clips and judged by the rest of them: no test clip is read. A
    tuning that was stopped goes on if the same command is typed again. At the end it prints the command of the final
    run, which trains with the chosen values on all training clips and evaluates on the test clips.

    Example: petl-bench tune --methods msta,lora --trials 8
    """
    from petl_bench.cli import run
    from petl_bench.data.loading.clip_cache import ClipCache
    from petl_bench.running.attempts.output import check_output, prepare_output, refuse_unprintable_output
    from petl_bench.running.planning.spec import read_tuning_spec
    from petl_bench.system.cache import cache_folder
    from petl_bench.tuning.options import tuning_options
    from petl_bench.tuning.rounds import prepare, tune

    asked, table = read_tuning_spec(flags, spec)
    given: dict[str, Any] = {"trials": trials, "objective": objective, "space": space}
    given |= {"draws": draws, "round_size": round_size, "seed": seed, "tuning_seeds": tuning_seeds}
    options = tuning_options(given, table, spec)
    refuse_unprintable_output(Path(asked.output))
    with run.telling_what_takes_time():
        search = prepare(asked, options, rehearsal=dry_run)
        if not dry_run:
            ClipCache(cache_folder() / "clips").look()
    launcher = run.launcher_of(asked)
    for line in _notes(search):
        run.tell(line)
    if dry_run:
        check_output(search.first.output)
        click.echo(lines("\n".join(_plan_lines(search))))
        return run.ALL_DONE
    for each in search.tuned:
        run.tell(f"{each.method}: proposals from {_space_of(each.tuning)}")
    prepare_output(search.first.output)

    def launch(planned: Plan) -> list[AttemptResult]:
        return run.launch(launcher, run.begin(planned, search.command()))

    try:
        with run.termination_as_interrupt():
            tunings = tune(search, launch, run.tell)
    except KeyboardInterrupt:
        run.tell(f"interrupted; what is done is kept. Go on with: {search.command()}")
        return run.INTERRUPTED
    except TrialStopped as error:
        run.tell(f"{error}. Go on with: {search.command()}")
        return run.SOME_FAILED
    except TrialError as error:
        run.tell(str(error))
        return run.SOME_FAILED
    click.echo(lines("\n".join(_table(tunings))))
    _tell_final_run(search, run.tell)
    return run.ALL_DONE


def _notes(search: Search) -> Iterator[str]:
    yield from search.first.notes
    yield from (f"warning: {warning}" for warning in search.first.warnings)
    yield from (f"{method} is not tuned: {why}" for method, why in search.left_out.items())


def _space_of(tuning: Tuning) -> str:
    return ", ".join(f"{name}={space}" for name, space in tuning.space.items())


def _plan_lines(search: Search) -> Iterator[str]:
    from petl_bench.running.planning.plan_text import estimate

    budget = search.options.trials
    rows = [["method", "proposals", "trainings", "space"]]
    for each in search.tuned:
        rows.append([each.method, f"{budget:,}", f"{budget * each.trials:,}", _space_of(each.tuning)])
    yield from columns(rows)
    trainings = budget * sum(each.trials for each in search.tuned)
    yield (
        f"at most {trainings:,} trainings into {search.first.output}, judged by {search.options.objective}; the final "
        "run is apart"
    )
    yield estimate(search.first, budget)


def _table(tunings: Sequence[Tuning]) -> Iterator[str]:
    rows = [["method", "chosen", tunings[0].objective, "at the recipe", "proposals", "failed", "trainings"]]
    for each in tunings:
        assert each.best is not None
        failed = sum(bool(proposal.fault) for proposal in each.proposals)
        done = f"{len(each.proposals)} of {each.budget}"
        rows.append(
            [
                each.method,
                _values(each.best),
                _objective(each.best),
                _objective(each.proposals[0]),
                done,
                str(failed),
                str(each.trainings),
            ]
        )
    yield from columns(rows)


def _values(proposal: Proposal) -> str:
    from petl_bench.api.options import text_of

    return " ".join(f"{name}={text_of(value)}" for name, value in proposal.values.items())


def _objective(proposal: Proposal) -> str:
    return "failed" if proposal.objective is None else f"{proposal.objective:.2f}"


def _tell_final_run(search: Search, tell: Tell) -> None:
    from petl_bench.tuning.final_run import write_final_spec

    path = write_final_spec(search)
    for each in search.tuned:
        for proposal in each.tuning.proposals:
            if proposal.fault:
                tell(f"{each.method}, proposal {proposal.number} failed: {proposal.fault}")
    tell("accuracy on held-out training clips; no test clip was read. The final run:")
    tell(f"  {shlex.join(['petl-bench', 'run', '--spec', str(path)])}")
