"""What the value and the threshold of each refusal measure."""

from dataclasses import dataclass

from cli.formatting import format_number
from shared.domain.money import Side
from shared.messages.intents import IntentRefused
from shared.messages.refusals import Refusal

USDC, SHARES, SECONDS, BPS = "USDC", "shares", "s", "bps"


@dataclass(frozen=True, slots=True)
class Rule:
    """One check of preflight: what it measures, in which unit.

    The unit of an exit is given where it differs. No unit: the value only says yes or no.
    """

    meaning: str
    entry_unit: str = ""
    exit_unit: str | None = None

    def unit(self, side: Side) -> str:
        if side is Side.BUY or self.exit_unit is None:
            return self.entry_unit
        return self.exit_unit


RULES = {
    Refusal.HALTED: Rule("the mode forbids every copy"),
    Refusal.REDUCING: Rule("the mode allows exits only"),
    Refusal.NOT_CLOSED_OUT: Rule("the close-out had been taken back when the exit was judged"),
    Refusal.NOT_FOLLOWED: Rule("the follow had ended when the copy was judged"),
    Refusal.FOLLOWER_NOT_ALLOWED: Rule("PREFLIGHT_ALLOWED_FOLLOWERS does not name the follower"),
    Refusal.LEADER_NOT_ALLOWED: Rule("PREFLIGHT_ALLOWED_LEADERS does not name the leader"),
    Refusal.TOKEN_NOT_ALLOWED: Rule("PREFLIGHT_ALLOWED_TOKENS does not name the token"),
    Refusal.BEFORE_HISTORY: Rule(
        "age of the leader's trade; the rows of copies that are this old may have been pruned",
        SECONDS,
    ),
    Refusal.TRADE_TOO_OLD: Rule("age of the leader's trade", SECONDS),
    Refusal.EMPTY_BOOK: Rule("the order book had nothing on the side that the copy takes"),
    Refusal.NO_MARKET: Rule("the venue had no order book for the token"),
    Refusal.QUOTE_UNAVAILABLE: Rule("the venue did not give its order book in time"),
    Refusal.QUOTE_TOO_OLD: Rule("age of the quote", SECONDS),
    Refusal.BOOK_TOO_THIN: Rule("what the order book could fill", USDC),
    Refusal.SLIPPAGE_TOO_HIGH: Rule(
        "how much worse than the leader's price, or the book's middle, it would be", BPS
    ),
    Refusal.EQUITY_UNKNOWN: Rule("equities that were not known", "equities"),
    Refusal.BELOW_MINIMUM: Rule("size of the copy", USDC, SHARES),
    Refusal.ABOVE_TRADE_MAXIMUM: Rule("size of the copy", USDC),
    Refusal.DAILY_CAP_REACHED: Rule("spent in 24 hours by the follow, this copy included", USDC),
    Refusal.FOLLOWER_DAILY_CAP_REACHED: Rule(
        "spent in 24 hours by all follows of the follower, this copy included", USDC
    ),
    Refusal.MARKET_DAILY_CAP_REACHED: Rule(
        "spent in 24 hours on the token by all followers, this copy included", USDC
    ),
    Refusal.GLOBAL_DAILY_CAP_REACHED: Rule(
        "spent in 24 hours by all followers, this copy included", USDC
    ),
    Refusal.TOO_MANY_POSITIONS: Rule("tokens that the follower would hold", "tokens"),
    Refusal.TOO_MANY_ENTRIES: Rule("entries of the follower in the last minute", "entries"),
    Refusal.EXIT_CAME_FIRST: Rule(
        "an exit of the follow and token was judged while the entry waited for room within "
        "PREFLIGHT_MAX_ENTRIES_PER_MINUTE"
    ),
    Refusal.SPREAD_TOO_WIDE: Rule("spread of the order book", BPS),
    Refusal.PRICE_OUT_OF_BAND: Rule("worst price that the entry would reach", "USDC a share"),
    Refusal.TRADE_IN_FUTURE: Rule("how far in the future the leader's trade is dated", SECONDS),
    Refusal.BALANCE_TOO_LOW: Rule("what the wallet could still spend or sell", USDC, SHARES),
    Refusal.ALLOWANCE_TOO_LOW: Rule("what the exchange may take from the wallet", USDC, ""),
    Refusal.NO_POSITION: Rule("what the follow holds to sell", SHARES),
    Refusal.AWAITS_ENTRY: Rule("entries and exits before it that are not settled", "settlements"),
    Refusal.EXITS_NOT_COPIED: Rule("the follow's terms copy no exits"),
    Refusal.ALREADY_RECONCILED: Rule("an exit by what the leader holds has sold it already"),
    Refusal.ENTRIES_NOT_COPIED: Rule("the follow's terms copy no entries"),
    Refusal.DIRECTION_CHANGED: Rule(
        "the follow copied the other outcome of the market when the entry was judged"
    ),
    Refusal.NO_COMPLEMENT: Rule("the venue knows no complementary outcome of the leader's token"),
    Refusal.COMPLEMENT_UNAVAILABLE: Rule(
        "the complementary outcome of the leader's token is not known: the venue did not name it "
        "in time, or no follow ever bought it"
    ),
    Refusal.LEADER_TRADE_TOO_SMALL: Rule("what the leader's trade is worth so far", USDC),
    Refusal.PRICE_FILTERED: Rule(
        "worst price that the entry would reach, by the follow's filter", "USDC a share"
    ),
    Refusal.SPREAD_FILTERED: Rule("spread of the order book, by the follow's filter", BPS),
    Refusal.LIQUIDITY_FILTERED: Rule("liquidity of the market", USDC),
    Refusal.TIME_TO_END_FILTERED: Rule("time to the market's announced end", SECONDS),
    Refusal.TAG_FILTERED: Rule("the follow's filter of tags excludes the market"),
    Refusal.MARKET_FILTERED: Rule("the follow's filter of markets excludes the market"),
    Refusal.MARKET_DETAILS_UNAVAILABLE: Rule(
        "the venue's catalogue did not say what the follow's filters need"
    ),
}


def describe_violation(refused: IntentRefused) -> str:
    """The rule that refused the copy, with value, threshold and margin where it measures
    something.
    """
    rule = RULES[refused.reason]
    unit = rule.unit(refused.intent.side)
    if not unit:
        return rule.meaning
    bound, beyond = (
        ("at most", "too much") if refused.value > refused.threshold else ("at least", "too little")
    )
    value, threshold, margin = map(
        format_number, (refused.value, refused.threshold, refused.margin)
    )
    return f"{rule.meaning}: {value} {unit}, {bound} {threshold} {unit}: {margin} {unit} {beyond}"
