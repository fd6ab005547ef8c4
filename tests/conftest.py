from __future__ import annotations

from hypothesis import HealthCheck, settings

# How fast a machine is must not decide whether a property holds.
settings.register_profile("meter", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("meter")
