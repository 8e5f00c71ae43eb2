"""What the tests of all sections use."""


def by_name(checks):
    return {check.name: check for check in checks}
