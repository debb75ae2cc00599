from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.orchestrator.plan.trial import Trial, options

SEEDS = st.integers(0, 2**32)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(SEEDS, st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.integers(0, 2), st.integers(1, 2))
@pytest.mark.timeout(300)
def test_the_mesh_becomes_what_is_wanted_whatever_went_wrong(
    seed: int, stack: int, app: int, driver: int, idle: int, domains: int
) -> None:
    trial = Trial(options(stack, app, driver, idle, domains), seed)
    trial.run_through_trouble(trial.random.randrange(400))
    trial.run_until_settled()
    trial.check_settled()


@settings(max_examples=80, deadline=None, derandomize=True)
@given(SEEDS)
@pytest.mark.timeout(300)
def test_a_bucket_never_has_two_holders_while_stack_tiles_die_and_tables_change(seed: int) -> None:
    Trial(options(stack=3, app=1, driver=1, idle=0, domains=1), seed).run_stack_churn(80)
