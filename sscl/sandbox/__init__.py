"""Strangers' model files run here: in a process of their own, without files, network, or other rights."""
