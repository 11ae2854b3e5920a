"""The claim checker as a pytest plugin."""

pytest_plugins = ("tests.checker.plugin",)
