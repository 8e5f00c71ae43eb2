import pytest

from tests.launching.drivers import Driver, Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def drive(folder):
    """Starts drivers on the folder; whatever they have started is gone afterwards."""
    drivers = []

    def start(configs, *arguments, **settings):
        drivers.append(Driver(folder, configs, *arguments, **settings))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.destroy()
