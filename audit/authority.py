"""Who may act on what is held of people: registered auditors who may read everything.

An erasure, or a hold, that works from a part of the log misses what the other part says: a floor, a
hold, a second record. So it takes an auditor of this log in whose scope everything is (§7.7 keeps
one), and says where records do not open to them all the same.
"""

from __future__ import annotations

from audit.errors import ScopeError
from audit.ledger import Ledger
from audit.recipients import PrivateKey, id_of


def authority(ledger: Ledger, private: PrivateKey) -> str:
    """The id of the auditor whose key this is.

    Raises:
        ScopeError: no auditor of this log, or one who may not read everything.
    """
    who = id_of(private)
    scope = ledger.scope(who)
    if scope is None:
        raise ScopeError("this key belongs to no auditor of this log")
    if not scope.everything:
        raise ScopeError("this takes the key of an auditor who may read everything")
    return who
