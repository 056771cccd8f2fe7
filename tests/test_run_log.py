"""A run's log: one line of JSON per event, and a word when nothing goes on."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from coreset.artifacts.executor import Progress
from coreset.run_log import Logged, RunLog, last_event


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Listener(Progress):
    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.stalled = threading.Event()

    def begin(self, title: str, total: float) -> None:
        self.heard.append((title, total))

    def advance(self, units: float) -> None:
        self.heard.append(units)

    def stall(self, seconds: float, why: str) -> None:
        self.heard.append(why)
        self.stalled.set()

    def end(self, done: bool) -> None:
        self.heard.append(done)


def test_a_log_grows_by_a_line_per_event_and_tells_its_number(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert last_event(path) is None
    log = RunLog(path)
    assert [log.tell("a", text="two\nlines"), log.tell("b")] == [1, 2]
    assert RunLog(path).tell("c", number=1) == 3  # a run that goes on
    found = events(path)
    assert [each["event"] for each in found] == ["a", "b", "c"]
    assert found[0]["text"] == "two\nlines"
    assert all(each["time"].endswith("+00:00") for each in found)
    assert last_event(path) == found[-1]


def test_the_last_event_of_a_log_whose_last_line_is_torn_is_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    RunLog(path).tell("a")
    with path.open("a") as file:
        file.write('{"time": "20')
    assert (last_event(path) or {})["event"] == "a"
    assert RunLog(path).tell("b") == 3
    assert [line[:9] for line in path.read_text().splitlines()] == ['{"time": ', '{"time": ', '{"time": ']
    assert (last_event(path) or {})["event"] == "b"


def test_a_log_that_cannot_be_written_ends_no_run(tmp_path: Path) -> None:
    assert RunLog(tmp_path / "missing" / "log.jsonl").tell("a") == 0


def test_a_listener_hears_all_and_the_log_keeps_stages_alone(tmp_path: Path) -> None:
    listener = Listener()
    progress = Logged(RunLog(tmp_path / "log.jsonl"), listener, lambda: "why")
    with progress.over("one", 3.0):
        progress.advance(1.0)
    with pytest.raises(ZeroDivisionError), progress.over("two", 1.0):
        raise ZeroDivisionError
    assert listener.heard == [("one", 3.0), 1.0, True, ("two", 1.0), False]
    told = [(each["event"], each["stage"]) for each in events(tmp_path / "log.jsonl")]
    assert told == [("stage begins", "one"), ("stage ends", "one"), ("stage begins", "two"), ("stage stops", "two")]


def test_a_stage_that_stands_still_says_so_and_why_and_less_and_less_often(tmp_path: Path) -> None:
    listener = Listener()
    progress = Logged(RunLog(tmp_path / "log.jsonl"), listener, lambda: "no CPU is free.", patience=0.05)
    with progress.over("one", 3.0):
        assert listener.stalled.wait(30)
        listener.stalled.clear()
        assert listener.stalled.wait(30)
        progress.advance(0.0)  # nothing was done
    stalls = [each for each in events(tmp_path / "log.jsonl") if each["event"] == "no progress"]
    assert len(stalls) >= 2
    assert {(each["stage"], each["why"]) for each in stalls} == {("one", "no CPU is free.")}
    assert stalls[0]["seconds"] >= 0.05 and stalls[1]["seconds"] >= 2 * 0.05
