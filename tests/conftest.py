"""Names the groups of tests that can be left out."""


def pytest_configure(config):
    config.addinivalue_line("markers", "other_cpu: compiles kernels for another CPU, ten seconds each the first time")
