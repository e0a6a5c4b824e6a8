"""The faults harness: voyages of the real daemon through random faults, after each of which a ledger must balance."""
