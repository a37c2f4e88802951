"""Other ways to prove that a model was trained on a dataset, to compare with: one file each, found by name."""

from sscl.peers.base import PEERS, Owner, Pairs, Peer

__all__ = ["PEERS", "Owner", "Pairs", "Peer"]
