"""For authors of backends and our own tests: the contract that every backend keeps, and fakes to test with.

@pytest.fixture(scope="module")
def case():
    return Case(artifact=..., feeds={"input": x}, expected=[y])


class TestAcme(BackendContract):
    backend = AcmeBackend
"""

from edgebench.testing.contract import BackendContract, Case, Verdict, run_checks
from edgebench.testing.fakes import FakeClock, fake_artifact, fake_outputs

__all__ = ["BackendContract", "Case", "FakeClock", "Verdict", "fake_artifact", "fake_outputs", "run_checks"]
