"""The red team: every attack from inside of PostgreSQL that we know, one test each.

A test first makes the attack work on something weaker, where that is cheap: on a naive twin of what
is attacked, or on PostgreSQL itself. What cannot be prevented is tested too, so that
docs/security-model.md says what is true. A package, so that its files may have the names of others.
"""
