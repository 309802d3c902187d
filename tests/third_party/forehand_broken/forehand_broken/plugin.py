"""Fails as plugins do: it needs what nobody installed."""

import a_library_nobody_has  # noqa: F401
