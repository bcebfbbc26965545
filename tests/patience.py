"""Database settings for tests that fill large tables, or in which transactions wait for others."""

from datetime import timedelta

from shared.db.settings import DatabaseSettings

LONG = timedelta(minutes=9)


def patient_settings(url: str) -> DatabaseSettings:
    """Limits that no test reaches: on a slow machine a fill takes as long as it needs, and what
    waits for a lock waits until the test releases it.
    """
    return DatabaseSettings.model_validate(
        {
            "url": url,
            "pool_timeout": LONG,
            "lock_timeout": LONG,
            "statement_timeout": LONG,
            "answer_timeout": 2 * LONG,
            "idle_in_transaction_timeout": LONG,
        }
    )
