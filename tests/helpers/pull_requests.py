"""A small project in a Git repository, to be changed and reviewed."""

import hashlib
import json
import shutil

import yaml

from helpers.commits import NOISE, Repository, alone
from record import environment, rerun, results
from review.__main__ import main
from stages.common.entry import UserError

GATE = {
    "metrics": {
        results.NUMBERS: {
            "accuracy": {"better": "higher", "limit": 0.9, "tolerance": 0.001},
            "loss": {"better": "lower", "limit": 0.5, "tolerance": 0.01},
        },
        "metrics/train.json": {"validation_accuracy": {"better": "higher", "tolerance": 0.002}},
    }
}
PIPELINE = {
    "stages": {
        "train": {"cmd": "train"},
        "evaluate": {"cmd": "evaluate", "metrics": [{results.NUMBERS: {"cache": False}}]},
    },
    "metrics": ["metrics/train.json", results.NUMBERS],
}
PARAMETERS = {
    "download": {"dataset": "mnist"},
    "train": {"epochs": 13, "optimizer": {"name": "adam"}},
}
DATASETS = {"mnist": {"classes": list("0123456789"), "disputed": []}}


class Project(Repository):
    """A repository with everything that a review reads; each method writes files, `commit` commits them."""

    def start(self):
        self.write_yaml("dvc.yaml", PIPELINE)
        self.write_yaml("params.yaml", PARAMETERS)
        self.write_yaml("datasets.yaml", DATASETS)
        self.write_yaml("review/gate.yaml", GATE)
        self.write(results.NOISE, json.dumps(NOISE))
        self.machine()
        self.train()
        self.score(range(10))
        return self.commit()

    def write_yaml(self, path, values):
        self.write(path, yaml.safe_dump(values, sort_keys=False))

    def parameter(self, key, value):
        values = yaml.safe_load((self.folder / "params.yaml").read_text())
        values["train"][key] = value
        self.write_yaml("params.yaml", values)

    def base_run(self, commit, wrong, problem="", **machine):
        """What `make base` leaves: a run of `commit` with the images `wrong` misclassified, on another `machine`."""
        written = [results.NUMBERS, results.MISTAKES, environment.FILE, "metrics/classes.csv", "dvc.lock"]
        kept = {path: (self.folder / path).read_text() for path in written}
        self.machine(**machine)
        self.score(wrong)
        for path in [] if problem else written:
            self.write(f"{rerun.FOLDER}/{path}", (self.folder / path).read_text())
        for path, text in kept.items():
            self.write(path, text)
        self.write(f"{rerun.FOLDER}/{rerun.RUN}", json.dumps({"commit": commit, "problem": problem}))

    def train(self, curve=(0.9, 0.98), **numbers):
        rows = [f"{epoch},{1 - value},{value}" for epoch, value in enumerate(curve, 1)]
        self.write("metrics/history.csv", "\n".join(["epoch,validation_loss,validation_accuracy", *rows, ""]))
        self.write("metrics/train.json", json.dumps({"validation_accuracy": 0.99, "epochs": 13} | numbers))

    def score(self, wrong, **options):
        """What evaluating a model that misclassifies the images `wrong` leaves; the loss is 0.1 unless given."""
        wrong = list(wrong)
        recalls = [f"{name},{1 - sum(each % 10 == name for each in wrong) / 100},100" for name in range(10)]
        self.write("metrics/classes.csv", "\n".join(["class,recall,support", *recalls, ""]))
        super().score(wrong, **{"loss": 0.1} | options)

    def lock(self, test_data="f00d", model="abc", read=None, validation="cafe"):
        def entries(*paths):
            sums = {path: hashlib.md5((self.folder / path).read_bytes()).hexdigest() for path in paths}
            return [{"path": path, "md5": md5} for path, md5 in sums.items()]

        held_out = {"path": "data/prepared/validation", "md5": validation}
        train = {"cmd": "train", "deps": [held_out], "outs": [{"path": "models/model.tflite", "md5": model}]}
        train["outs"] += entries("metrics/train.json")
        evaluate = {"cmd": "evaluate", "deps": [{"path": results.TEST_DATA, "md5": test_data}]}
        evaluate["deps"].append({"path": "models/model.tflite", "md5": read or model})
        evaluate["outs"] = entries(results.NUMBERS, results.MISTAKES)
        self.write_yaml("dvc.lock", {"schema": "2.0", "stages": {"train": train, "evaluate": evaluate}})

    def review(self, *arguments):
        """Whether the review passes, and its page in Markdown."""
        pages = self.folder / "pages"
        try:
            main([*arguments, "--output", str(pages)])
            passed = True
        except UserError as error:
            assert "\n" not in str(error)
            passed = False
        text = (pages / "review.md").read_text(encoding="utf-8")
        shutil.copy(pages / "index.html", self.folder.parent / "page.html")
        shutil.rmtree(pages)
        first = text.splitlines()[0]
        assert (
            first.startswith("❌ **Fail**: ")
            if not passed
            else first.startswith(("✅ **Pass**: ", "⚠️ **Pass by override**: "))
        )
        return passed, text


def begin(tmp_path, environment, monkeypatch):
    """The current folder: a project with one commit on main, and a branch `change` that is checked out."""
    made = Project(alone(tmp_path, environment, monkeypatch))
    made.start()
    made.git("switch", "--quiet", "--create", "change")
    return made
