"""The comment on a pull request: the module as its job runs it, against a server that answers like GitHub."""

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest

from review import comment

ROOT = Path(__file__).parent.parent
HEAD = "0123456789abcdef0123456789abcdef01234567"
BOT = {"login": "github-actions[bot]"}
PAGE = f"# 3 images fixed, 1 broken\n\n{comment.MARKER}\n"


class GitHub(ThreadingHTTPServer):
    """A repository `ada/digits` with pull requests and comments, and what it was asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.pulls = [pull(7)]
        self.comments = []  # of the one pull request
        self.failures = []  # statuses and headers with which the next requests fail
        self.lose_answer_to = None  # a method whose next request is carried out and then answered with 502
        self.requests = []

    @property
    def writes(self):
        return [request for request in self.requests if not request.startswith("GET")]


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer("GET")

    def do_POST(self):
        self.answer("POST")

    def do_PATCH(self):
        self.answer("PATCH")

    def answer(self, method):
        github, url = self.server, urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        github.requests.append(f"{method} {url.path}")
        assert self.headers["Authorization"] == "Bearer secret"
        if github.failures:
            return self.reply(*github.failures.pop(0))
        path = url.path.removeprefix("/repos/ada/digits")
        if (method, path) == ("GET", "/pulls"):
            found = [
                each for each in github.pulls if query == {"state": "open", "head": label(each), "per_page": "100"}
            ]
            return self.reply(200, values=found)
        if (method, path) == ("GET", "/issues/7/comments"):
            size, page = int(query["per_page"]), int(query["page"])
            return self.reply(200, values=github.comments[(page - 1) * size : page * size])
        if (method, path) == ("POST", "/issues/7/comments"):
            body = json.loads(content)["body"]
            github.comments.append({"id": 100 + len(github.comments), "user": BOT, "body": body})
        elif method == "PATCH" and path.startswith("/issues/comments/"):
            (found,) = (each for each in github.comments if each["id"] == int(path.rpartition("/")[2]))
            found["body"] = json.loads(content)["body"]
        else:
            return self.reply(404)
        if github.lose_answer_to == method:
            github.lose_answer_to = None
            return self.reply(502)
        return self.reply(201 if method == "POST" else 200, values={})

    def reply(self, status, headers=(), values=None):
        content = json.dumps({"message": "as the documentation says"} if values is None else values).encode()
        self.send_response(status)
        for name, value in {**dict(headers), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


def pull(number, sha=HEAD, branch="wider"):
    repository = {"id": 5, "owner": {"login": "grace"}}
    return {"number": number, "head": {"sha": sha, "ref": branch, "repo": repository}}


def label(pull):
    return f"{pull['head']['repo']['owner']['login']}:{pull['head']['ref']}"


@pytest.fixture
def github():
    with GitHub() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def job(github, tmp_path):
    """A function that runs the module on a page as .github/workflows/comment.yml does."""
    event = {
        "workflow_run": {
            "head_sha": HEAD,
            "head_branch": "wider",
            "head_repository": {"id": 5, "full_name": "grace/digits", "owner": {"login": "grace"}},
            "html_url": "https://github.example/ada/digits/actions/runs/1",
        }
    }

    def run(page=PAGE, **variables):
        file = tmp_path / "review.md"
        if page is not None:
            file.write_bytes(page if isinstance(page, bytes) else page.encode())
        (tmp_path / "event.json").write_text(json.dumps(event), encoding="utf-8")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GITHUB_")} | {
            "GITHUB_API_URL": f"http://127.0.0.1:{github.server_address[1]}",
            "GITHUB_REPOSITORY": "ada/digits",
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
            "GITHUB_TOKEN": "secret",
            "NO_PROXY": "*",
        }
        return subprocess.run(
            [sys.executable, "-m", "review.comment", str(file)],
            cwd=ROOT,
            env={key: value for key, value in (environment | variables).items() if value is not None},
            capture_output=True,
            text=True,
            timeout=60,
        )

    run.event = event["workflow_run"]
    run.file = tmp_path / "review.md"
    return run


def posted(ended, github):
    """The body of the one comment of ours."""
    assert ended.returncode == 0, ended.stderr
    (body,) = [each["body"] for each in github.comments if comment.is_ours(each)]
    return body


def refused(ended, github):
    """The one line of an error; nothing was written."""
    assert ended.returncode == 1
    assert github.writes == []
    assert ended.stderr.startswith("comment: ")
    assert ended.stderr.count("\n") == 1
    return ended.stderr


def test_the_first_page_becomes_a_comment_that_says_whose_words_it_holds(job, github):
    ended = job()
    assert ended.stdout == "the comment on pull request 7 is written\n"
    source = "*Written by the code of 0123456 in [this run](https://github.example/ada/digits/actions/runs/1).*"
    assert posted(ended, github) == f"{source}\n\n{PAGE}"


def test_the_next_page_takes_the_place_of_the_first(job, github):
    job("the first\n" + PAGE)
    ended = job("the second\n" + PAGE)
    assert ended.stdout == "the comment on pull request 7 is brought up to date\n"
    body = posted(ended, github)
    assert "the second" in body and "the first" not in body
    assert github.comments[0]["id"] == 100


def test_the_comment_is_found_behind_a_hundred_others(job, github):
    chat = [{"id": number, "user": {"login": "ada"}, "body": "nice"} for number in range(100)]
    github.comments = [*chat, {"id": 500, "user": BOT, "body": f"old {comment.MARKER}"}]
    assert "old" not in posted(job(), github)
    assert github.writes == ["PATCH /repos/ada/digits/issues/comments/500"]


def test_comments_of_others_are_left_alone_though_they_quote_the_marker(job, github):
    quote = {"id": 1, "user": {"login": "grace"}, "body": f"> {comment.MARKER}"}
    ghost = {"id": 2, "user": None, "body": comment.MARKER}
    other_job = {"id": 3, "user": BOT, "body": "coverage: 90 %"}
    github.comments = [quote | {}, ghost | {}, other_job | {}]
    posted(job(), github)
    assert github.comments[:3] == [quote, ghost, other_job]
    assert github.writes == ["POST /repos/ada/digits/issues/7/comments"]


def test_a_page_without_the_marker_gets_it(job, github):
    job("no marker")
    job("still none")
    assert len(github.comments) == 1


def moved_on(job, github):
    github.pulls = [pull(7, sha="f" * 40)]


def closed(job, github):
    github.pulls = []


def another_repository(job, github):
    github.pulls[0]["head"]["repo"]["id"] = 6


def fork_deleted(job, github):
    job.event["head_repository"] = None


@pytest.mark.parametrize("change", [moved_on, closed, another_repository, fork_deleted])
def test_where_the_pull_request_is_gone_or_has_moved_on_nothing_is_posted(job, github, change):
    change(job, github)
    ended = job()
    assert ended.returncode == 0
    assert ended.stdout.startswith("no open pull request has 0123456 as its head")
    assert github.writes == []


def test_a_number_in_the_page_does_not_choose_the_pull_request(job, github):
    github.pulls = [pull(8, sha="f" * 40, branch="other"), pull(7)]
    posted(job("pull request: 8\n" + PAGE), github)
    assert github.writes == ["POST /repos/ada/digits/issues/7/comments"]


def test_two_pull_requests_of_one_branch_are_told_in_one_line(job, github):
    github.pulls = [pull(9), pull(7)]
    assert "#7 and #9 have the same head" in refused(job(), github)


def test_no_page_is_told_and_is_no_failure(job, github):
    ended = job(page=None)
    assert ended.returncode == 0
    assert "is not there: the run ended before its review" in ended.stdout
    assert github.requests == []


@pytest.mark.parametrize("page", ["x" * 65_536, b"\xff" * 300_000, "@" * 40_000])
def test_a_page_longer_than_a_comment_is_refused(job, github, page):
    assert "too long for a comment, which has at most 65,536 characters" in refused(job(page), github)


def test_a_page_as_long_as_a_comment_may_be_is_posted(job, github):
    rest = comment.LIMIT - len(comment.body(PAGE, job.event))
    assert len(posted(job("é" * rest + PAGE), github)) == 65_536


def test_a_page_that_is_not_utf_8_is_refused(job, github):
    assert "is not UTF-8 at byte 3" in refused(job(b"caf\xe9!"), github)


def test_a_link_is_not_followed(job, github, tmp_path):
    (tmp_path / "secret").write_text("the token")
    job.file.symlink_to(tmp_path / "secret")
    assert "is not a plain file" in refused(job(page=None), github)


@pytest.mark.parametrize(
    "mention",
    ["@ada", "_@ada_", "@ada/team", "&#64;ada", "&#x40;ada", "&#X0040;ada", "&commat;ada", "@&#97;da", "&#64ada"],
)
def test_nobody_is_called_by_a_page(job, github, mention):
    body = posted(job(f"hello {mention}, <b>{mention}</b>\n{PAGE}"), github)
    assert body.count("@\u200b") == 2
    assert not comment.AT_SIGN.search(body.replace("@\u200b", ""))


def test_a_fault_of_github_is_tried_again(job, github):
    github.failures = [(502,)]
    posted(job(), github)


def test_an_answer_that_is_lost_after_the_writing_makes_no_second_comment(job, github):
    github.lose_answer_to = "POST"
    posted(job(), github)
    assert [write.split()[0] for write in github.writes] == ["POST", "PATCH"]


def test_a_lasting_fault_is_told_after_three_attempts(job, github):
    github.failures = [(503,)] * 3
    assert "GitHub fails with 503 at GET /pulls: run this job again later" in refused(job(), github)
    assert len(github.requests) == 3


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        ((401,), "the token is not accepted"),
        ((403,), "the job needs `pull-requests: write`"),
        ((404,), "there is no such thing, or not for this token"),
        ((403, {"x-ratelimit-remaining": "0"}), "rate limit is used up"),
        ((429, {"retry-after": "60"}), "rate limit is used up"),
        ((422,), "GitHub answers 422 at GET /pulls: Unprocessable"),
    ],
)
def test_a_refusal_is_told_in_one_line_and_not_repeated(job, github, failure, told):
    github.failures = [failure]
    assert told in refused(job(), github)
    assert len(github.requests) == 1


def test_no_network_is_told_in_one_line():
    with pytest.raises(comment.Unavailable, match=r"^GitHub does not answer \(.*\): run this job again later$"):
        comment.request("http://127.0.0.1:9", "secret", "GET", "/pulls")


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "GITHUB_REPOSITORY", "GITHUB_EVENT_PATH"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_setting_is_named(job, github, name, value):
    assert f"{name} is not set" in refused(job(**{name: value}), github)


def test_the_event_of_another_trigger_is_refused(job, github, tmp_path):
    (tmp_path / "push.json").write_text('{"ref": "refs/heads/main"}')
    event = str(tmp_path / "push.json")
    assert "is not the event of a finished workflow" in refused(job(GITHUB_EVENT_PATH=event), github)


def test_the_job_needs_nothing_but_the_standard_library():
    isolated = [sys.executable, "-S", "-c", "import sys; sys.path.insert(0, '.'); import review.comment"]  # no packages
    ended = subprocess.run(isolated, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
