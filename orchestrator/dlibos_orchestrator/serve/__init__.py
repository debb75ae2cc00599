"""The orchestrator: the process that makes a mesh what it is to be. Read orchestrator.py first."""
