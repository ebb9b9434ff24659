"""The comment on a pull request: the module as its job runs it, against a server that answers like GitHub."""

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.fake_github import BOT, finished, posted, pull, serving, settings
from review import comment

ROOT = Path(__file__).parent.parent
PAGE = f"# 3 images fixed, 1 broken\n\n{comment.MARKER}\n"


@pytest.fixture
def github():
    with serving() as server:
        yield server


@pytest.fixture
def job(github, tmp_path):
    """A function that runs the module on a page as .github/workflows/comment.yml does."""
    event = finished()

    def run(page=PAGE, **variables):
        file = tmp_path / "review.md"
        if page is not None:
            file.write_bytes(page if isinstance(page, bytes) else page.encode())
        environment = settings(github, event, tmp_path)
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


def refused(ended, github):
    """The one line of an error; nothing was written."""
    assert ended.returncode == 1
    assert github.writes == []
    assert ended.stderr.startswith("comment: ")
    assert ended.stderr.count("\n") == 1
    return ended.stderr


def not_posted(ended, github):
    """The one line of an error; the one comment says that there is no page, and holds nothing of it."""
    assert ended.returncode == 1
    [body] = [each["body"] for each in github.comments if comment.is_ours(each)]
    assert "left no page that could be posted" in body and "Written by" not in body
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


@pytest.mark.parametrize("conclusion", ["failure", "timed_out"])
def test_a_run_that_failed_before_its_review_takes_back_the_verdict_of_the_one_before(job, github, conclusion):
    job("✅ **Pass**\n" + PAGE)
    job.file.unlink()
    job.event["conclusion"] = conclusion
    ended = job(page=None)
    assert ended.stdout == "the comment on pull request 7 is brought up to date\n"
    run = "[the run](https://github.example/ada/digits/actions/runs/1)"
    told = f"❌ **Fail**: the run of 0123456 left no page that could be posted: {run} says why."
    assert posted(ended, github) == f"{told}\n\n{comment.MARKER}"


def test_a_first_run_that_failed_before_its_review_says_so(job, github):
    job.event["conclusion"] = "failure"
    assert posted(job(page=None), github).startswith(
        "❌ **Fail**: the run of 0123456 left no page that could be posted"
    )


def test_a_run_that_passed_and_whose_page_is_lost_leaves_no_verdict_of_another_commit(job, github):
    job("❌ **Fail** an earlier commit\n" + PAGE)
    job.file.unlink()
    body = posted(job(page=None), github)
    assert body.startswith("✅ **Pass**: the run of 0123456 passed, but left no page that could be posted: [the run](")
    assert "earlier" not in body


def test_a_page_of_a_run_that_failed_is_posted(job, github):
    job.event["conclusion"] = "failure"
    body = posted(job(), github)
    assert "3 images fixed" in body
    assert body.startswith("❌ **A job of this run did not pass.** *Written by the code of 0123456 in [this run](")


@pytest.mark.parametrize("conclusion", ["action_required", "neutral", None])
def test_no_page_of_any_other_run_is_told_and_is_no_failure(job, github, conclusion):
    job.event["conclusion"] = conclusion
    ended = job(page=None)
    assert ended.returncode == 0
    assert f"is not there and the run is {conclusion}, so nothing is posted" in ended.stdout
    assert github.requests == []


@pytest.mark.parametrize("page", ["x" * 65_536, b"\xff" * 300_000, "@" * 40_000], ids=["text", "bytes", "mentions"])
def test_a_page_longer_than_a_comment_is_refused(job, github, page):
    assert "the page is not posted: a comment has at most 65,536 characters" in not_posted(job(page), github)


def test_a_page_as_long_as_a_comment_may_be_is_posted(job, github):
    rest = comment.LIMIT - len(comment.body(PAGE, job.event))
    assert len(posted(job("é" * rest + PAGE), github)) == 65_536


def test_a_page_that_is_not_utf_8_is_refused(job, github):
    job(PAGE)
    assert "is not UTF-8 at byte 3" in not_posted(job(b"caf\xe9!"), github)


def test_a_link_is_not_followed(job, github, tmp_path):
    (tmp_path / "secret").write_text("the token")
    job.file.symlink_to(tmp_path / "secret")
    assert "is not a plain file" in not_posted(job(page=None), github)


def test_nor_is_one_that_leads_nowhere(job, github, tmp_path):
    job.file.symlink_to(tmp_path / "nothing")
    assert "is not a plain file" in not_posted(job(page=None), github)


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
