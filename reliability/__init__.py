"""Faults on purpose: `python -m reliability`; see docs/reliability.md."""
