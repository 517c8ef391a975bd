"""The study of canonical examples (Hewitt et al., 2024, arXiv:2402.06155): from one simple example to unlike text.

A method learns simple examples of a behaviour, is tested in text unlike them, and may hardly raise the loss on general
text.

Written against `Method` and `Canonical` as such; no part of it knows a method or a task by name.
"""
