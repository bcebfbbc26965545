"""Debt recovery: the record of who owes what to whom, since when and why.

consumes    debts (by proxy)
produces    nothing yet: debts are recorded and shown; collecting them on the chain comes with
            advance funding
owns        debt_recovery.debts
guarantees  a debt is recorded once, however often it is reported
fails       by waiting: a debt that cannot be recorded is not skipped
"""
