"""What the services tell about themselves: traces, metrics, health and logs. Never a secret, never
a payload.
"""
