"""A server that answers like GitHub, and what its runner tells a job."""

import json
import os
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from review import comment

HEAD = "0123456789abcdef0123456789abcdef01234567"
BOT = {"login": "github-actions[bot]"}


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


@contextmanager
def serving():
    with GitHub() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def finished(sha=HEAD, branch="wider", conclusion="success"):
    """The event of a run that has ended."""
    return {
        "workflow_run": {
            "head_sha": sha,
            "head_branch": branch,
            "head_repository": {"id": 5, "full_name": "grace/digits", "owner": {"login": "grace"}},
            "html_url": "https://github.example/ada/digits/actions/runs/1",
            "conclusion": conclusion,
        }
    }


def settings(github, event, folder):
    """The environment variables of a job that `event` started; the file of the event goes into `folder`."""
    (folder / "event.json").write_text(json.dumps(event), encoding="utf-8")
    return {key: value for key, value in os.environ.items() if not key.startswith("GITHUB_")} | {
        "GITHUB_API_URL": f"http://127.0.0.1:{github.server_address[1]}",
        "GITHUB_REPOSITORY": "ada/digits",
        "GITHUB_EVENT_PATH": str(folder / "event.json"),
        "GITHUB_TOKEN": "secret",
        "NO_PROXY": "*",
    }


def posted(ended, github):
    """The body of the one comment of ours."""
    assert ended.returncode == 0, ended.stderr
    (body,) = [each["body"] for each in github.comments if comment.is_ours(each)]
    return body
