"""Post the review page on its pull request: `python -m review.comment FILE`, in the one job that may write comments.

The code of the pull request wrote the page, so here the page is untrusted text. It decides nothing: which pull request
was run, GitHub says. @mentions are neutralised, and no file but FILE is read. This job installs nothing, so only the
standard library is imported.
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from http.client import HTTPException
from itertools import count
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from stages.common.entry import UserError, run

MARKER = "<!-- digits-review -->"  # the last line of the page, by which an earlier comment is found
BOT = "github-actions[bot]"  # as this user, GitHub posts what a workflow writes with its token
LIMIT = 65_536  # characters of a comment, at GitHub
TOO_LONG = f"the page is not posted: a comment has at most {LIMIT:,} characters"
AT_SIGN = re.compile("@|&(?:#0*64|#[xX]0*40|commat);?")  # the character and its names in HTML
ENDED = ("success", "failure", "timed_out")  # conclusions of a run after which an earlier comment would be wrong
PAUSES = (1, 4)  # seconds before the second and the third attempt
PER_PAGE = 100

Call = Callable[..., Any]


class Unavailable(UserError):
    """GitHub did not answer, or answered with an error of its own: another attempt may succeed."""


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m review.comment", description=__doc__)
    options.add_argument("page", metavar="FILE", type=Path, help="the page, in Markdown")
    path = options.parse_args(arguments).page

    api = os.environ.get("GITHUB_API_URL", "https://api.github.com")
    call = partial(request, f"{api}/repos/{setting('GITHUB_REPOSITORY')}", setting("GITHUB_TOKEN"))
    workflow_run = event(Path(setting("GITHUB_EVENT_PATH")))
    conclusion, problem = workflow_run.get("conclusion"), None
    if not os.path.lexists(path) and conclusion not in ENDED:
        print(f"{path} is not there and the run is {conclusion}, so nothing is posted")
        return
    try:
        text = body(read(path), workflow_run) if os.path.lexists(path) else no_page(workflow_run)
    except UserError as error:  # an earlier comment must not look as if it were about this commit
        text, problem = no_page(workflow_run), error
    for pause in (*PAUSES, None):
        try:
            print(post(call, workflow_run, text))
            break
        except Unavailable:
            if pause is None:
                raise
            time.sleep(pause)
    if problem:
        raise problem


def setting(name: str) -> str:
    if not (value := os.environ.get(name, "").strip()):
        raise UserError(f"{name} is not set: this runs in .github/workflows/comment.yml, which sets it")
    return value


def event(path: Path) -> Mapping[str, Any]:
    """The `workflow_run` of the event that started this job; GitHub wrote it, so it can be trusted."""
    workflow_run: Mapping[str, Any] | None = json.loads(path.read_text(encoding="utf-8")).get("workflow_run")
    if workflow_run is None:
        raise UserError(f"{path} is not the event of a finished workflow: this runs in .github/workflows/comment.yml")
    return workflow_run


def read(path: Path) -> str:
    """The page. Raises `UserError` if it is a link, too large, or not UTF-8."""
    if path.is_symlink() or not path.is_file():  # a link could name a file with the token in it
        raise UserError(f"{path} is not a plain file: it is not read")
    if path.stat().st_size > 4 * LIMIT:  # a character has at most 4 bytes
        raise UserError(TOO_LONG)
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 at byte {error.start:,}: it is not posted") from None


def body(page: str, workflow_run: Mapping[str, Any]) -> str:
    """The comment: which code wrote the page, the page with @mentions neutralised, the marker.

    If the run did not pass, the comment begins with that, since the page may say otherwise: it knows nothing of the
    other jobs, and the pull request's own code wrote it.
    """
    failed = "" if workflow_run["conclusion"] == "success" else "❌ **A job of this run did not pass.** "
    source = f"*Written by the code of {workflow_run['head_sha'][:7]} in [this run]({workflow_run['html_url']}).*"
    text = mute(page)
    whole = "\n\n".join([failed + source, text] if MARKER in text else [failed + source, text, MARKER])
    if len(whole) > LIMIT:
        raise UserError(TOO_LONG)
    return whole


def mute(page: str) -> str:
    """`page` with a zero-width space after each @, so that GitHub finds no name; it looks the same."""
    return AT_SIGN.sub("@\u200b", page)


def no_page(workflow_run: Mapping[str, Any]) -> str:
    """The comment on a run whose page is missing or not fit to post; nothing in it is the pull request's text."""
    commit, address = workflow_run["head_sha"][:7], workflow_run["html_url"]
    if workflow_run["conclusion"] == "success":
        verdict = (
            f"✅ **Pass**: the run of {commit} passed, but left no page that could be posted: [the run]({address})."
        )
    else:
        verdict = f"❌ **Fail**: the run of {commit} left no page that could be posted: [the run]({address}) says why."
    return f"{verdict}\n\n{MARKER}"


def post(call: Call, workflow_run: Mapping[str, Any], text: str) -> str:
    """Write the comment, or replace our earlier one; returns a sentence about what was done.

    Each attempt looks for the earlier comment: the attempt before may have written it and lost the answer.
    """
    number = pull_request(call, workflow_run)
    if number is None:
        commit = workflow_run["head_sha"][:7]
        return f"no open pull request has {commit} as its head: closed, or moved on, so nothing is posted"
    comments = listed(call, f"/issues/{number}/comments")
    if earlier := next((comment["id"] for comment in comments if is_ours(comment)), None):
        call("PATCH", f"/issues/comments/{earlier}", {"body": text})
        return f"the comment on pull request {number} is brought up to date"
    call("POST", f"/issues/{number}/comments", {"body": text})
    return f"the comment on pull request {number} is written"


def pull_request(call: Call, workflow_run: Mapping[str, Any]) -> int | None:
    """The number of the open pull request whose head was run; None if there is none any more."""
    head = workflow_run["head_repository"]
    if head is None:  # the fork is deleted
        return None
    query = urlencode(
        {"state": "open", "head": f"{head['owner']['login']}:{workflow_run['head_branch']}", "per_page": PER_PAGE}
    )
    found = [
        pull["number"]
        for pull in call("GET", f"/pulls?{query}")
        if pull["head"]["sha"] == workflow_run["head_sha"] and (pull["head"]["repo"] or {}).get("id") == head["id"]
    ]
    if len(found) > 1:
        names = " and ".join(f"#{number}" for number in sorted(found))
        raise UserError(f"pull requests {names} have the same head: which of them was reviewed is not known; close one")
    return found[0] if found else None


def listed(call: Call, path: str) -> Iterator[dict[str, Any]]:
    for number in count(1):
        page = call("GET", f"{path}?{urlencode({'per_page': PER_PAGE, 'page': number})}")
        yield from page
        if len(page) < PER_PAGE:
            return


def is_ours(comment: Mapping[str, Any]) -> bool:
    """Whether it is our comment: it must be the bot's, since anybody can quote the marker."""
    return (comment["user"] or {}).get("login") == BOT and MARKER in (comment["body"] or "")


def request(repository: str, token: str, method: str, path: str, values: Mapping[str, Any] | None = None) -> Any:
    """GitHub's answer to `method` on `path` below the `repository`'s URL. Raises `UserError`, in one line."""
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "User-Agent": "digits-review",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    content = None if values is None else json.dumps(values).encode()
    try:
        with urlopen(Request(repository + path, content, headers, method=method), timeout=30) as answer:
            return json.load(answer)
    except HTTPError as error:
        raise refusal(error, f"{method} {path.partition('?')[0]}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise Unavailable(f"GitHub does not answer ({error}): run this job again later") from None


def refusal(error: HTTPError, what: str) -> UserError:
    """The HTTP error as one line: the request, what the answer means, what to do."""
    if error.code >= 500:
        return Unavailable(f"GitHub fails with {error.code} at {what}: run this job again later")
    if error.code == 429 or error.headers.get("retry-after") or error.headers.get("x-ratelimit-remaining") == "0":
        return UserError(f"GitHub's rate limit is used up ({error.code} at {what}): run this job again in an hour")
    remedies = {
        401: "the token is not accepted: GITHUB_TOKEN must be this job's own",
        403: "the token may not do this: the job needs `pull-requests: write`, in a repository that is not archived",
        404: "there is no such thing, or not for this token: the job needs `pull-requests: write`",
    }
    return UserError(f"GitHub answers {error.code} at {what}: {remedies.get(error.code, error.reason)}")


if __name__ == "__main__":
    run("comment", partial(main, sys.argv[1:]))
