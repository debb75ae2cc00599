"""From what is wanted and what is seen to the one next thing to do. Pure. Read `planner`, then the phases it names."""

from dlibos_orchestrator.plan.actions import SETTLED, Action, Kill, Start, Wait, Write
from dlibos_orchestrator.plan.backoff import Failure
from dlibos_orchestrator.plan.planner import next_action
from dlibos_orchestrator.plan.steps import steps

__all__ = ["SETTLED", "Action", "Failure", "Kill", "Start", "Wait", "Write", "next_action", "steps"]
