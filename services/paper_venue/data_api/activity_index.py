"""What has each wallet done, and what does it hold, as far as the index has read the chain?

Pure folding of transactions, in chain order, into rows and holdings.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.paper_venue.data_api.chain_events import NOBODY, ChainTransaction
from services.paper_venue.data_api.holdings_ledger import Holding
from services.paper_venue.exchange.orders import Market, MarketVersion, condition_key
from shared.chain.logs import OrderFilledLog
from shared.domain.money import Side

RowKey = tuple[int, int]
"""Place in the chain: block number, and a count within the block. Unique, and growing from row to
row."""


class ActivityType(StrEnum):
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
    """None where it is about money only, or about all outcomes of `condition` at once."""
    condition: str | None = None
    """By `condition_key`; None: about no market."""
    side: Side | None = None
    fee: int = 0
    is_taker: bool = False


class ActivityIndex:
    """Rows and holdings of every wallet. Rows are only ever added, at the end."""

    def __init__(self, market_by_token: Mapping[str, Market]) -> None:
        self._market_by_token = market_by_token
        self._rows: list[Activity] = []
        self._rows_by_wallet: defaultdict[str, list[Activity]] = defaultdict(list)
        self._holdings: defaultdict[str, dict[str, Holding]] = defaultdict(dict)
        self._payouts: dict[str, tuple[int, int]] = {}
        self._begun = 0
        self._place: RowKey = (0, 0)

    def rows(self, wallet: str | None = None) -> Sequence[Activity]:
        """A wallet's rows, or everybody's, oldest first."""
        return self._rows if wallet is None else self._rows_by_wallet.get(wallet.lower(), ())

    def holdings(self, wallet: str) -> Iterable[Holding]:
        return self._holdings.get(wallet.lower(), {}).values()

    def holders(self, token_ids: Iterable[str]) -> list[Holding]:
        """Everybody's positions in these tokens."""
        asked = list(token_ids)
        return [own[token] for own in self._holdings.values() for token in asked if token in own]

    def payouts(self, condition_id: str) -> tuple[int, int] | None:
        """Payout numerators (yes, no) of a condition that is resolved."""
        return self._payouts.get(condition_key(condition_id))

    def fold(self, transaction: ChainTransaction) -> None:
        """Take over one transaction. Every wallet's shares move as the chain says; why they moved
        is told by its fills and events.
        """
        self._payouts |= transaction.payouts
        unexplained = self._moved(transaction)
        for fill in transaction.fills:
            self._trade(transaction, fill, unexplained)
        for token, by_wallet in self._by_market(unexplained).items():
            market = self._market_by_token[token]
            for wallet in by_wallet:
                self._convert(transaction, market, wallet, unexplained)
        if not transaction.moves and not transaction.fills:
            self._pay(transaction)

    def _moved(self, transaction: ChainTransaction) -> defaultdict[tuple[str, str], int]:
        """What each wallet has more or less of each token than before."""
        moved: defaultdict[tuple[str, str], int] = defaultdict(int)
        for move in transaction.moves:
            if move.token_id in self._market_by_token:
                moved[move.sender, move.token_id] -= move.shares
                moved[move.receiver, move.token_id] += move.shares
        for (wallet, token), shares in moved.items():
            if shares and wallet != NOBODY:
                self._holding(wallet, token, transaction).held += shares
        return moved

    def _trade(
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
        self._add(
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

    def _by_market(self, unexplained: Mapping[tuple[str, str], int]) -> dict[str, list[str]]:
        """Wallets whose shares of a market moved without a fill, by the market's YES token."""
        found: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for (wallet, token), shares in unexplained.items():
            if shares and wallet != NOBODY:
                found[self._market_by_token[token].token_ids[0]][wallet] = None
        return {token: list(wallets) for token, wallets in found.items()}

    def _convert(
        self,
        transaction: ChainTransaction,
        market: Market,
        wallet: str,
        unexplained: Mapping[tuple[str, str], int],
    ) -> None:
        """Pairs that were made are a SPLIT, pairs that were burnt a MERGE, shares that were paid
        out a REDEEM; all else is a transfer.

        By what moved in the end, so that it is the wallet's own whether it called the contract
        itself or an adapter.
        """
        yes, no = (unexplained.get((wallet, token), 0) for token in market.token_ids)
        made, burnt = self._made_and_burnt(transaction, market)
        if made and yes > 0 and no > 0:
            self._split(transaction, market, wallet, min(yes, no))
        elif burnt and self._is_redemption(transaction, market):
            self._redeem(transaction, market, wallet, (max(-yes, 0), max(-no, 0)))
        elif burnt and yes < 0 and no < 0:
            self._merge(transaction, market, wallet, min(-yes, -no))

    def _made_and_burnt(self, transaction: ChainTransaction, market: Market) -> tuple[bool, bool]:
        moves = [move for move in transaction.moves if move.token_id in market.token_ids]
        return any(move.sender == NOBODY for move in moves), any(
            move.receiver == NOBODY for move in moves
        )

    def _is_redemption(self, transaction: ChainTransaction, market: Market) -> bool:
        """PositionManager's shares of a resolved condition can only be redeemed; ConditionalTokens
        says which it was.
        """
        key = condition_key(market.condition_id)
        return key in transaction.redeemed or (
            market.version is MarketVersion.V2 and key in self._payouts
        )

    def _split(
        self, transaction: ChainTransaction, market: Market, wallet: str, shares: int
    ) -> None:
        """A pair costs one USDC, half of it for each outcome."""
        for token, usdc in zip(market.token_ids, (shares // 2, shares - shares // 2), strict=True):
            self._holding(wallet, token, transaction).buy(shares, usdc, 0)
        key = condition_key(market.condition_id)
        self._add(
            transaction, ActivityType.SPLIT, wallet, usdc=shares, shares=shares, condition=key
        )

    def _merge(
        self, transaction: ChainTransaction, market: Market, wallet: str, shares: int
    ) -> None:
        for token, usdc in zip(market.token_ids, (shares // 2, shares - shares // 2), strict=True):
            self._holding(wallet, token, transaction).sell(shares, usdc, 0)
        key = condition_key(market.condition_id)
        self._add(
            transaction, ActivityType.MERGE, wallet, usdc=shares, shares=shares, condition=key
        )

    def _redeem(
        self, transaction: ChainTransaction, market: Market, wallet: str, burnt: tuple[int, int]
    ) -> None:
        """One row for each outcome that was held, the losing one's with nothing."""
        key = condition_key(market.condition_id)
        payouts = self._payouts[key]
        for token, shares, payout in zip(market.token_ids, burnt, payouts, strict=True):
            if shares:
                usdc = shares * payout // sum(payouts)
                self._holding(wallet, token, transaction).sell(shares, usdc, 0)
                self._add(
                    transaction,
                    ActivityType.REDEEM,
                    wallet,
                    usdc=usdc,
                    shares=shares,
                    token_id=token,
                    condition=key,
                )

    def _pay(self, transaction: ChainTransaction) -> None:
        """Money that moved by itself."""
        for payment in transaction.payments:
            if payment.receiver != NOBODY:
                self._add(transaction, ActivityType.DEPOSIT, payment.receiver, usdc=payment.amount)
            if payment.sender != NOBODY:
                self._add(transaction, ActivityType.WITHDRAWAL, payment.sender, usdc=payment.amount)

    def _holding(self, wallet: str, token: str, transaction: ChainTransaction) -> Holding:
        own = self._holdings[wallet.lower()]
        if token not in own:
            self._begun += 1
            moment = transaction.timestamp
            own[token] = Holding(
                wallet=wallet, token_id=token, number=self._begun, first_at=moment, last_at=moment
            )
        own[token].last_at = transaction.timestamp
        return own[token]

    def _add(
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
        block, count = self._place
        self._place = (
            transaction.block_number,
            count + 1 if transaction.block_number == block else 0,
        )
        row = Activity(
            key=self._place,
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
