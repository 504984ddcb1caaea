"""For every test: hypothesis has no deadline, since these machines are shared, and the suite must not measure them."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
