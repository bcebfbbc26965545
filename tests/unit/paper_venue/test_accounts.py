"""An account is the last read of the chain plus the matches since, each movement counted once."""

from services.paper_venue.exchange.accounts import Account, Accounts, Movement
from shared.chain.addresses import EXCHANGE_V2
from tests.unit.paper_venue.builders import USDC, YES, rich


def a_purchase(settlement: str = "s1", wallet: str = "0xA") -> Movement:
    return Movement(
        settlement=settlement,
        wallet=wallet,
        exchange=EXCHANGE_V2,
        collateral=-40 * USDC,
        token_id=YES,
        shares=100 * USDC,
    )


def an_account() -> tuple[Accounts, Account]:
    accounts = Accounts()
    accounts.refresh("0xA", rich(collateral=100 * USDC, shares=0))
    return accounts, accounts.get("0xA")


def test_a_match_changes_the_account_immediately() -> None:
    accounts, account = an_account()

    accounts.add_pending(a_purchase())

    assert (account.collateral, account.shares[YES]) == (60 * USDC, 100 * USDC)


def test_a_pending_movement_stays_applied_to_a_read_that_does_not_contain_it() -> None:
    accounts, account = an_account()
    accounts.add_pending(a_purchase())

    accounts.refresh("0xA", rich(collateral=150 * USDC, shares=0))

    assert account.collateral == 110 * USDC


def test_a_settlement_that_a_read_already_contains_counts_once() -> None:
    accounts, account = an_account()
    accounts.add_pending(a_purchase())
    read_after_it_was_mined = rich(collateral=60 * USDC, shares=100 * USDC)

    accounts.refresh("0xA", read_after_it_was_mined)
    accounts.settle("0xA", "s1", block=1)

    assert (account.collateral, account.shares[YES]) == (60 * USDC, 100 * USDC)


def test_a_settlement_after_the_last_read_counts_once() -> None:
    accounts, account = an_account()
    accounts.add_pending(a_purchase())

    accounts.settle("0xA", "s1", block=2)
    accounts.settle("0xA", "s1", block=2)

    assert (account.collateral, account.shares[YES]) == (60 * USDC, 100 * USDC)


def test_a_failed_settlement_is_undone() -> None:
    accounts, account = an_account()
    accounts.add_pending(a_purchase())

    accounts.revert("0xA", "s1")

    assert (account.collateral, account.shares[YES]) == (100 * USDC, 0)


def test_an_older_read_changes_nothing() -> None:
    accounts, account = an_account()

    accounts.refresh("0xA", rich(collateral=1).__class__(block=0))

    assert account.collateral == 100 * USDC


def test_a_bounded_allowance_is_used_up() -> None:
    accounts = Accounts()
    accounts.refresh("0xA", rich(collateral=100 * USDC, allowance=50 * USDC))

    accounts.add_pending(a_purchase())

    assert accounts.get("0xA").spendable(token_id=None, exchange=EXCHANGE_V2) == 10 * USDC
