"""The index of the chain: every wallet's activity rows and holdings.

Pure: transactions are applied in chain order.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.paper_venue.data_api.chain_events import ZERO_ADDRESS, ChainTransaction
from services.paper_venue.data_api.holdings_ledger import Holding
from services.paper_venue.exchange.orders import Market, MarketVersion, condition_key
from shared.chain.logs import OrderFilledLog
from shared.domain.money import Side

RowKey = tuple[int, int]
"""Block number, and a count within the block: unique, and larger from row to row."""


class ActivityType(StrEnum):
    """What a row is about, as the Data API spells it."""

    TRADE = "TRADE"
    SPLIT = "SPLIT"
    MERGE = "MERGE"
    REDEEM = "REDEEM"
    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One thing that one wallet did. ``shares`` in micro-shares, ``usdc`` and ``fee`` in
    micro-USDC, ``timestamp`` in seconds.
    """

    key: RowKey
    type: ActivityType
    wallet: str
    transaction_hash: str
    timestamp: int
    indexed_at_ms: int
    usdc: int
    """Without the fee."""
    shares: int = 0
    token_id: str | None = None
    """None: the row is about money only, or about all outcomes of `condition`."""
    condition: str | None = None
    """By `condition_key`; None: the row is about no market."""
    side: Side | None = None
    fee: int = 0
    is_taker: bool = False


class ActivityIndex:
    """Rows and holdings of every wallet. Rows are only ever appended."""

    def __init__(self, market_by_token: Mapping[str, Market]) -> None:
        self._market_by_token = market_by_token
        self._rows: list[Activity] = []
        self._rows_by_wallet: defaultdict[str, list[Activity]] = defaultdict(list)
        self._holdings: defaultdict[str, dict[str, Holding]] = defaultdict(dict)
        self._payouts: dict[str, tuple[int, int]] = {}
        self._position_count = 0
        self._last_key: RowKey = (0, 0)

    def rows(self, wallet: str | None = None) -> Sequence[Activity]:
        """A wallet's rows, or those of all wallets, oldest first."""
        return self._rows if wallet is None else self._rows_by_wallet.get(wallet.lower(), ())

    def holdings(self, wallet: str) -> Iterable[Holding]:
        return self._holdings.get(wallet.lower(), {}).values()

    def holders(self, token_ids: Iterable[str]) -> list[Holding]:
        """All wallets' holdings of these tokens."""
        tokens = list(token_ids)
        return [own[token] for own in self._holdings.values() for token in tokens if token in own]

    def payouts(self, condition_id: str) -> tuple[int, int] | None:
        """Payout numerators (yes, no) of a condition; None: not resolved."""
        return self._payouts.get(condition_key(condition_id))

    def apply(self, transaction: ChainTransaction) -> None:
        """Add one transaction. Shares move as its transfers say; its fills and events explain why
        they moved.
        """
        self._payouts |= transaction.payouts
        unexplained = self._apply_transfers(transaction)
        for fill in transaction.fills:
            self._record_trade(transaction, fill, unexplained)
        for token, by_wallet in self._wallets_by_market(unexplained).items():
            market = self._market_by_token[token]
            for wallet in by_wallet:
                self._record_conversion(transaction, market, wallet, unexplained)
        if not transaction.share_transfers and not transaction.fills:
            self._record_pusd_transfers(transaction)

    def _apply_transfers(self, transaction: ChainTransaction) -> defaultdict[tuple[str, str], int]:
        """Apply the share transfers, and return the change by wallet and token."""
        changes: defaultdict[tuple[str, str], int] = defaultdict(int)
        for move in transaction.share_transfers:
            if move.token_id in self._market_by_token:
                changes[move.sender, move.token_id] -= move.shares
                changes[move.receiver, move.token_id] += move.shares
        for (wallet, token), shares in changes.items():
            if shares and wallet != ZERO_ADDRESS:
                self._holding(wallet, token, transaction).held += shares
        return changes

    def _record_trade(
        self,
        transaction: ChainTransaction,
        fill: OrderFilledLog,
        unexplained: defaultdict[tuple[str, str], int],
    ) -> None:
        token = str(fill.token_id)
        if token not in self._market_by_token:
            return
        holding = self._holding(fill.maker, token, transaction)
        if fill.side is Side.BUY:
            holding.buy(fill.shares, fill.usdc, fill.fee)
            unexplained[fill.maker, token] -= fill.shares
        else:
            holding.sell(fill.shares, fill.usdc, fill.fee)
            unexplained[fill.maker, token] += fill.shares
        self._add_row(
            transaction,
            ActivityType.TRADE,
            fill.maker,
            usdc=fill.usdc,
            shares=fill.shares,
            token_id=token,
            condition=condition_key(self._market_by_token[token].condition_id),
            side=fill.side,
            fee=fill.fee,
            is_taker=fill.is_taker_order,
        )

    def _wallets_by_market(
        self, unexplained: Mapping[tuple[str, str], int]
    ) -> dict[str, list[str]]:
        """The wallets whose shares moved without a fill, by the market's YES token."""
        wallets_by_token: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for (wallet, token), shares in unexplained.items():
            if shares and wallet != ZERO_ADDRESS:
                wallets_by_token[self._market_by_token[token].token_ids[0]][wallet] = None
        return {token: list(wallets) for token, wallets in wallets_by_token.items()}

    def _record_conversion(
        self,
        transaction: ChainTransaction,
        market: Market,
        wallet: str,
        unexplained: Mapping[tuple[str, str], int],
    ) -> None:
        """Record minted pairs as a SPLIT, burnt pairs as a MERGE, and redeemed shares as a REDEEM.
        All else is a plain transfer, which has no row.

        Judged by the net change, so that it is the wallet's own activity whether it called the
        contract itself or through an adapter.
        """
        yes, no = (unexplained.get((wallet, token), 0) for token in market.token_ids)
        minted, burnt = self._minted_and_burnt(transaction, market)
        if minted and yes > 0 and no > 0:
            self._record_split(transaction, market, wallet, min(yes, no))
        elif burnt and self._is_redemption(transaction, market):
            self._record_redemption(transaction, market, wallet, (max(-yes, 0), max(-no, 0)))
        elif burnt and yes < 0 and no < 0:
            self._record_merge(transaction, market, wallet, min(-yes, -no))

    def _minted_and_burnt(self, transaction: ChainTransaction, market: Market) -> tuple[bool, bool]:
        moves = [move for move in transaction.share_transfers if move.token_id in market.token_ids]
        return any(move.sender == ZERO_ADDRESS for move in moves), any(
            move.receiver == ZERO_ADDRESS for move in moves
        )

    def _is_redemption(self, transaction: ChainTransaction, market: Market) -> bool:
        """Whether burnt shares were redeemed, not merged. ConditionalTokens has an event for it;
        shares of a resolved condition of PositionManager can only be redeemed.
        """
        key = condition_key(market.condition_id)
        return key in transaction.redeemed or (
            market.version is MarketVersion.V2 and key in self._payouts
        )

    def _record_split(
        self, transaction: ChainTransaction, market: Market, wallet: str, shares: int
    ) -> None:
        """A pair costs one USDC, of which half is the cost of each outcome."""
        for token, usdc in zip(market.token_ids, (shares // 2, shares - shares // 2), strict=True):
            self._holding(wallet, token, transaction).buy(shares, usdc, 0)
        key = condition_key(market.condition_id)
        self._add_row(
            transaction, ActivityType.SPLIT, wallet, usdc=shares, shares=shares, condition=key
        )

    def _record_merge(
        self, transaction: ChainTransaction, market: Market, wallet: str, shares: int
    ) -> None:
        for token, usdc in zip(market.token_ids, (shares // 2, shares - shares // 2), strict=True):
            self._holding(wallet, token, transaction).sell(shares, usdc, 0)
        key = condition_key(market.condition_id)
        self._add_row(
            transaction, ActivityType.MERGE, wallet, usdc=shares, shares=shares, condition=key
        )

    def _record_redemption(
        self, transaction: ChainTransaction, market: Market, wallet: str, burnt: tuple[int, int]
    ) -> None:
        """Add a row for each outcome that was held; the losing outcome's is worth 0."""
        key = condition_key(market.condition_id)
        payouts = self._payouts[key]
        for token, shares, payout in zip(market.token_ids, burnt, payouts, strict=True):
            if shares:
                usdc = shares * payout // sum(payouts)
                self._holding(wallet, token, transaction).sell(shares, usdc, 0)
                self._add_row(
                    transaction,
                    ActivityType.REDEEM,
                    wallet,
                    usdc=usdc,
                    shares=shares,
                    token_id=token,
                    condition=key,
                )

    def _record_pusd_transfers(self, transaction: ChainTransaction) -> None:
        """Record pUSD transfers of a transaction without shares as deposits and withdrawals."""
        for payment in transaction.pusd_transfers:
            if payment.receiver != ZERO_ADDRESS:
                self._add_row(
                    transaction, ActivityType.DEPOSIT, payment.receiver, usdc=payment.amount
                )
            if payment.sender != ZERO_ADDRESS:
                self._add_row(
                    transaction, ActivityType.WITHDRAWAL, payment.sender, usdc=payment.amount
                )

    def _holding(self, wallet: str, token: str, transaction: ChainTransaction) -> Holding:
        own = self._holdings[wallet.lower()]
        if token not in own:
            self._position_count += 1
            timestamp = transaction.timestamp
            own[token] = Holding(
                wallet=wallet,
                token_id=token,
                number=self._position_count,
                first_at=timestamp,
                last_at=timestamp,
            )
        own[token].last_at = transaction.timestamp
        return own[token]

    def _add_row(
        self,
        transaction: ChainTransaction,
        kind: ActivityType,
        wallet: str,
        *,
        usdc: int,
        shares: int = 0,
        token_id: str | None = None,
        condition: str | None = None,
        side: Side | None = None,
        fee: int = 0,
        is_taker: bool = False,
    ) -> None:
        block, count = self._last_key
        self._last_key = (
            transaction.block_number,
            count + 1 if transaction.block_number == block else 0,
        )
        row = Activity(
            key=self._last_key,
            type=kind,
            wallet=wallet,
            transaction_hash=transaction.hash,
            timestamp=transaction.timestamp,
            indexed_at_ms=transaction.indexed_at_ms,
            usdc=usdc,
            shares=shares,
            token_id=token_id,
            condition=condition,
            side=side,
            fee=fee,
            is_taker=is_taker,
        )
        self._rows.append(row)
        self._rows_by_wallet[wallet.lower()].append(row)
