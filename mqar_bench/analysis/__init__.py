"""What is computed from models and records: state sizes, traces, caches of slots, the report.

Import from its modules, each of which is a set of functions of models, traces or tables.
"""
