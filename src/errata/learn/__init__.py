"""Learned editors: what they are trained on, the one training loop, and the directory that training leaves.

Knows models, edits and what a trained editor is for; knows no method.
"""
