pytest_plugins = ["shared"]
