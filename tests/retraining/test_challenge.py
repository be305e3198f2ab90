"""A challenger wins when it is better, and for certain not much worse; chance alone rarely lets a worse one through."""

import numpy as np

from raypipe.retraining.challenge import judge

RNG = np.random.default_rng(0)


def test_the_better_one_wins_and_the_worse_one_loses():
    champion = RNG.gamma(2.0, 0.25, 10_000)
    assert judge(champion, champion - 0.01 + RNG.normal(0, 0.1, 10_000)).won
    assert not judge(champion, champion + 0.01 + RNG.normal(0, 0.1, 10_000)).won
    assert not judge(champion, champion).won
    assert not judge(champion[:0], champion[:0]).won


def test_few_rows_cannot_win():
    champion = RNG.gamma(2.0, 0.25, 30)
    assert not judge(champion, champion - 0.002 + RNG.normal(0, 0.3, 30)).won


def test_a_challenger_that_is_worse_by_the_margin_wins_less_than_once_in_twenty():
    won = sum(judge(np.zeros(2_000), RNG.normal(0.005, 0.2, 2_000)).won for _ in range(400))
    assert won <= 40  # 5 % allowed, some for chance
