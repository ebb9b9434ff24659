"""Two runs of the pipeline write the same bytes, whatever is around them, and `make identical` would see if not."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from helpers.clone import ROOT, Clone
from tools import identical

pytestmark = pytest.mark.xdist_group("identical")
PIPELINE_WRITES = 31  # dvc.lock and the outputs, metrics and plots of seven stages


@pytest.fixture(scope="session")
def german(tmp_path_factory):
    """Environment variables with which there is a German locale, made here, for few machines have one; else none."""
    folder = tmp_path_factory.mktemp("locales")
    command = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / "de_DE.UTF-8")]
    made = shutil.which("localedef") and subprocess.run(command, capture_output=True).returncode == 0
    return {"LOCPATH": str(folder)} if made else {}


@pytest.mark.skipif(os.name != "posix", reason="the second run has another umask and another locale")
def test_two_runs_in_different_surroundings_write_the_same_bytes(clone, german):
    here = clone()
    here.change(lambda values: values["download"].update(dataset="digits"))
    output = here.well(sys.executable, "-m", "tools.identical", **german)
    *_, verdict, row = output.splitlines()
    assert verdict == "identical: all of these are the same, byte for byte"
    assert re.fullmatch(
        r"\| .+, Python 3\.\d+\.\d+ \| \w+( with .+)? \| [\w.-]+ \| digits, fnn, \w+ \| [0-9a-f]{16} \|", row
    )
    compared = [line.split(":")[0].strip() for line in output.splitlines() if "SHA-256" in line]
    assert len(compared) == PIPELINE_WRITES
    assert {"dvc.lock", "data/raw", "models/model.keras", "metrics/evaluate.json", "reports/index.html"} <= {*compared}
    assert here.well("git", "status", "--porcelain", "--", ":!params.yaml") == ""


WRITERS = {  # what a careless stage might write, by what it would depend on
    "path": "os.getcwd()",
    "home": 'os.environ["HOME"]',
    "user": "__import__('getpass').getuser()",
    "login": "os.getlogin()",
    "user id": "os.getuid()",
    "temporary": "__import__('tempfile').gettempdir()",
    "host": "os.uname().nodename",
    "node": "__import__('platform').node()",
    "socket": "__import__('socket').gethostname()",
    "year": "datetime.datetime.now().year",
    "year today": "datetime.datetime.today().year",
    "year of the date": "datetime.date.today().year",
    "year in Greenwich": "datetime.datetime.now(datetime.timezone.utc).year",
    "year in words": "time.strftime('%Y')",
    "year here": "time.localtime().tm_year",
    "month": "time.ctime().split()[1]",
    "zone": "time.strftime('%H', time.localtime(0))",
    "locale": 'os.environ["LC_ALL"]',
    "hash": "{'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}",
    "permissions": "oct(os.stat('out/path').st_mode)",
    "listing": "os.listdir('folder')",
    "scan": "[entry.name for entry in os.scandir('folder')]",
    "glob": "[path.name for path in pathlib.Path('folder').glob('*')]",
    "walk": "next(os.walk('folder'))[2]",
    "width": "__import__('shutil').get_terminal_size().columns",
    "time": "time.time_ns()",
    "process": "os.getpid()",
}
if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1:
    WRITERS["cores"] = "len(os.sched_getaffinity(0))"
SAME = {"value": "1 + 1", "sorted": "sorted(os.listdir('folder'))"}
NUMBER = "locale.setlocale(locale.LC_ALL, '') and f'{1.5:n}'"  # differs where there is a locale with a decimal comma
STAGE = """
import datetime, locale, os, pathlib, time
os.mkdir("out")
for name, value in {table}:
    with open("out/" + name, "w") as file:
        file.write(str(eval(value)))
"""


@pytest.fixture
def careless(environment, german, tmp_path):
    """A repository of one stage that writes all of these."""
    here = Clone(tmp_path / "careless", environment | german | {"PYTHONPATH": str(ROOT)})
    (here.folder / "folder").mkdir(parents=True)
    for name in "abc":
        (here.folder / "folder" / name).write_text(name)
    (here.folder / "stage.py").write_text(STAGE.format(table=list((WRITERS | {"number": NUMBER} | SAME).items())))
    (here.folder / "dvc.yaml").write_text("stages: {write: {cmd: python stage.py, outs: [out]}}\n")
    here.well("git", "init", "--quiet")
    here.well(sys.executable, "-m", "dvc", "init", "--quiet")
    return here


def test_whatever_depends_on_the_surroundings_is_told(careless, german):
    ended = careless.python("-m", "tools.identical")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    told = {line.split(":")[1].strip() for line in ended.stderr.splitlines()[1:]}
    comma = bool(german) or identical.comma_locale() is not None
    assert told == {f"out/{name}" for name in WRITERS} | ({"out/number"} if comma else set()) | {"dvc.lock"}
    assert ("no locale with a decimal comma is installed" in ended.stdout) is not comma


def test_a_file_that_one_run_did_not_write_is_told(careless):
    (careless.folder / "stage.py").write_text(
        "import os\nos.mkdir('out')\nopen('out/always', 'w').close()\n"
        "if os.environ['USER'] == 'ada': open('out/sometimes', 'w').close()\n"
    )
    ended = careless.python("-m", "tools.identical")
    assert ended.returncode == 1
    assert "identical: out/sometimes: only the first run wrote it" in ended.stderr.splitlines()
    assert "out/always" not in ended.stderr


def test_a_pipeline_that_stops_is_told_with_its_reason(careless):
    (careless.folder / "stage.py").write_text("raise SystemExit('no ink')\n")
    ended = careless.python("-m", "tools.identical")
    assert ended.returncode == 1
    assert ended.stderr.startswith("identical: the pipeline stopped\n")
    assert "no ink" in ended.stderr
    assert "Traceback" not in ended.stderr
