"""Where along tau a network changes its mind."""

from __future__ import annotations

from app.sweep import mind


def test_changes():
    assert mind.changes(["cat"]) == []
    assert mind.changes(["cat", "cat", "dog", "cat", "cat"]) == [2, 3]


def test_few_answers_are_all_listed():
    assert mind.rows(["cat", "dog", "dog"], 9) == [0, 1, 2]


def test_both_sides_of_a_change_are_listed():
    says = ["cat"] * 30 + ["dog"] * 70
    assert mind.rows(says, 4) == [0, 29, 30, 33, 66, 99]
