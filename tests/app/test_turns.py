"""Runs of several visits: in the order of asking, and none that keeps others waiting."""

from __future__ import annotations

import threading
import time

import pytest

from app import loaders
from app.folders import InputError
from app.loaders import costs, turns
from app.records import Look
from tests.app.pages import run_page


def visits(monkeypatch):
    """Threads are visits, by their names."""
    monkeypatch.setattr(turns, "visit_of_thread", lambda: threading.current_thread().name)
    return turns.Turns()


def start(name, work):
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


def until(engine, count):
    """Wait until so many have a place."""
    deadline = time.monotonic() + 10
    while len(engine._queue) != count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_long_visit_lets_others_in_between(monkeypatch):
    engine, served = visits(monkeypatch), []
    inside, go = threading.Semaphore(0), threading.Semaphore(0)

    def long():
        for _ in range(3):  # batches of a data set
            with engine:
                served.append("long")
                inside.release()
                assert go.acquire(timeout=10)

    def short():
        with engine:
            served.append("short")
            go.release()

    first = start("one", long)
    assert inside.acquire(timeout=10)
    second = start("two", short)
    until(engine, 2)
    go.release(2)
    first.join(10)
    second.join(10)

    assert served == ["long", "short", "long", "long"]


def test_one_visit_has_few_places_and_another_is_served(monkeypatch):
    engine, said = visits(monkeypatch), []
    inside, go = threading.Semaphore(0), threading.Semaphore(0)

    def hold():
        with engine:
            inside.release()
            go.acquire(timeout=10)

    def too_much():
        try:
            hold()
        except InputError as error:
            said.append(str(error))

    held = [start("greedy", hold), start("greedy", hold)]
    assert inside.acquire(timeout=10)
    until(engine, 2)
    start("greedy", too_much).join(10)
    assert said == ["This visit has 2 runs waiting already: try again when they are done."]
    other = start("other", too_much)
    until(engine, 3)
    go.release(3)
    for thread in [*held, other]:
        thread.join(10)

    assert len(said) == 1
    assert not engine._queue


def test_an_image_of_too_much_work_is_refused_and_another_visit_goes_on(photo_env):
    ours, theirs = run_page(), run_page()
    name = ours.selectbox(key="explore_checkpoint").value
    look = Look(loaders.model(name), loaders.example("Cat"), 320, "keep")
    photo_env.setattr(turns, "max_gflops", lambda: costs.cost(look).dense / 1e9 + 1e-6)
    ours.select_slider(key="explore_side_imagenet").set_value(640).run()
    theirs.select_slider(key="explore_side_imagenet").set_value(320).run()

    assert not ours.exception
    assert "one visit may ask for" in ours.error[0].value
    assert ours.error[0].value.endswith("choose a smaller side.")
    assert not theirs.error
    assert len(theirs.metric) == 4


@pytest.mark.parametrize(("told", "limit"), [("", 500.0), ("many", 500.0), ("40", 40.0)])
def test_whoever_serves_sets_the_limit(monkeypatch, told, limit):
    monkeypatch.setenv("SACT_MAX_GFLOPS", told)
    assert turns.max_gflops() == limit
