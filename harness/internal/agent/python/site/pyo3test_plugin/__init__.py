"""The pytest plugin that the agent loads: it reports what happens as events and runs tests in forked children.

`launch.py` puts this package into sys.modules by hand; pytest then loads `pyo3test_plugin.hooks`. Nothing is imported
here, so that the agent, whose Python has no pytest, can use `lines`.
"""
