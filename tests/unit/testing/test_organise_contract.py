"""That the part about deleting and referring is in the contract, and fails broken stores: test_store_contract.py."""

from __future__ import annotations

from modelops_bundle.testing.organise_contract import OrganiseContract
from modelops_bundle.testing.store_contract import StoreContract


def test_every_store_is_held_to_it() -> None:
    assert issubclass(StoreContract, OrganiseContract)
    tests = {name for name in vars(OrganiseContract) if name.startswith("test_")}
    assert len(tests) > 5
    assert not tests & vars(StoreContract).keys(), "one hides another"
