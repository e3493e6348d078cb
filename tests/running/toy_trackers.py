"""Trackers for the tests of runs, given to `--plugin`: one writes down what it is told, one fails or hangs."""

import atexit
import json
import os
import subprocess
import sys
import time

import petl_bench as pb
from petl_bench.running.attempts import tracking


@pb.register_tracker("notebook")
class Notebook(pb.Tracker):
    """A JSON line for each call."""

    def start(self, trial, folder):
        self.file = folder / f"{trial.key}.jsonl"
        self.say("start", trial.title, dict(trial.parameters))

    def progress(self, step, values):
        self.say("progress", step, dict(values))

    def finish(self, metrics):
        self.say("finish", dict(metrics))

    def stop(self, ending):
        self.say("stop", ending)

    def say(self, *told):
        with self.file.open("a") as file:
            file.write(json.dumps(told) + "\n")


@pb.register_tracker("broken")
class Broken(pb.Tracker):
    """Goes wrong in the call, and in the way, that TOY_MISHAP says: `progress raise`."""

    def __init__(self):
        self.go_wrong("create")

    def start(self, trial, folder):
        self.go_wrong("start")

    def progress(self, step, values):
        self.go_wrong("progress")

    def finish(self, metrics):
        self.go_wrong("finish")

    def stop(self, ending):
        self.go_wrong("stop")

    def go_wrong(self, call):
        when, how = os.environ["TOY_MISHAP"].split()
        if call == when and how == "raise":
            raise OSError("no space left")
        if call == when and how == "leave":
            sys.exit(3)
        if call == when and how == "hold":  # as a library with a process that does not end
            tracking.FINISH_WITHIN_S = 1.0
            atexit.register(subprocess.Popen(["sleep", "90"]).wait)
        if call == when and how in ("hang", "hold"):
            time.sleep(30)


@pb.register_tracker("absent")
class Absent(pb.Tracker):
    """Needs what is not installed."""

    modules = ("no_such_module_anywhere",)
    install = "pip install 'toys[absent]'"

    def start(self, trial, folder):
        raise AssertionError

    progress = finish = start
