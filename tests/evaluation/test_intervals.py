from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from langchain_xlm.evaluation.intervals import Resampling, interval, paired_p_value
from langchain_xlm.evaluation.tasks import mean_of

VALUES = np.random.default_rng(5).gamma(2.0, size=200)


def test_intervals_are_those_of_scipy():
    spread = Resampling(len(VALUES), resamples=4000, seed=1).spread(mean_of(VALUES))
    ours = interval(spread)
    theirs = stats.bootstrap(
        (VALUES,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.02)
    assert spread.std() == pytest.approx(stats.sem(VALUES), rel=0.05)


def test_draws_depend_on_the_seed_alone():
    def spread(seed):
        return Resampling(len(VALUES), resamples=20, seed=seed).spread(mean_of(VALUES))

    assert (spread(1) == spread(1)).all()
    assert (spread(1) != spread(2)).any()


def test_the_same_draws_are_used_for_two_systems():
    one = Resampling(len(VALUES), resamples=50).spread(mean_of(VALUES))
    other = Resampling(len(VALUES), resamples=50).spread(mean_of(VALUES + 1))
    assert other - one == pytest.approx(np.ones(50))


def test_significance_agrees_with_a_t_test():
    noise = np.random.default_rng(7)
    for shift in (0.0, 0.08, 0.2, 1.0):
        other = VALUES + shift + noise.normal(scale=0.6, size=len(VALUES))
        spreads = [
            Resampling(len(VALUES), resamples=2000).spread(mean_of(each))
            for each in (other, VALUES)
        ]
        p = paired_p_value(other.mean() - VALUES.mean(), *spreads)
        expected = stats.ttest_rel(other, VALUES).pvalue
        assert p == pytest.approx(expected, abs=0.04)


def test_a_system_does_not_differ_from_itself():
    spread = Resampling(len(VALUES), resamples=50).spread(mean_of(VALUES))
    assert paired_p_value(0.0, spread, spread) == 1.0


def test_draws_without_a_value_are_left_out():
    assert interval(np.array([1.0, np.nan, 3.0])) == pytest.approx((1.05, 2.95))
    assert np.isnan(interval(np.array([np.nan]))).all()
    assert np.isnan(paired_p_value(0.0, np.array([np.nan]), np.array([1.0])))


def test_means_leave_out_examples_without_a_value():
    statistic = mean_of(np.array([1.0, np.nan, 3.0]), scale=10)
    assert statistic(np.array([0, 1, 2])) == 20
    assert np.isnan(statistic(np.array([1, 1])))
