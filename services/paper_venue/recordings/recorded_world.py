"""Prepares the local chain for playing a recording: a condition for each recorded market, wallets
for the recorded traders, and the shares that they need.
"""

from collections.abc import Mapping

from eth_utils.crypto import keccak

from services.paper_venue.chain.conditions import distribute_shares, prepare_conditions
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.exchange.orders import Market, Side
from services.paper_venue.recordings.timeline import RecordedMarket, Timeline
from services.paper_venue.world.opening import SimulatedWallets, World, create_simulated_wallets
from shared.chain.addresses import EXCHANGE_V2

_MAKER_SHARES = 10**15
"""Micro-shares of each outcome for a market maker: more than any recorded book offers."""
_ROUNDING_ALLOWANCE = 5_000_000
"""Micro-shares by which a resting order may be larger than its recorded fill: the smallest order
has five shares."""


async def prepare_recorded_world(
    deployment: Deployment, timeline: Timeline, *, seed: int
) -> tuple[SimulatedWallets, World]:
    """Prepare a new condition for each recorded market (all as plain v1 markets), and give shares
    to the market makers and to the wallets that sell in the recording.

    Raises: TransactionReverted, Transient.
    """
    wallets = await create_simulated_wallets(
        deployment, seed=seed, leaders=max(1, len(timeline.wallets))
    )
    questions = [local_question_id(recorded.condition_id) for recorded in timeline.markets]
    conditions = await prepare_conditions(deployment, dict.fromkeys(questions, EXCHANGE_V2))
    markets = [
        build_local_market(
            number,
            recorded,
            condition_id=each.condition_id,
            token_ids=(str(each.yes_token), str(each.no_token)),
            question_id=question,
        )
        for number, (recorded, each, question) in enumerate(
            zip(timeline.markets, conditions, questions, strict=True)
        )
    ]
    await distribute_shares(
        deployment, conditions, [maker.address for maker in wallets.makers], _MAKER_SHARES
    )
    address_by_recorded = {
        recorded: local.address
        for recorded, local in zip(timeline.wallets, wallets.leaders, strict=False)
    }
    for recorded, condition in zip(timeline.markets, conditions, strict=True):
        sold = shares_sold(timeline, recorded.condition_id)
        if sold:
            await distribute_shares(
                deployment,
                [condition],
                [address_by_recorded[wallet] for wallet in sold],
                max(sold.values()),
            )
    world = World(plans=(), markets=tuple(markets), conditions=tuple(conditions))
    return wallets, world


def local_question_id(recorded_condition_id: str) -> str:
    """The question id of the local condition that replaces a recorded one.

    The recorded condition itself cannot be prepared here: its id depends on the recorded oracle.
    """
    return "0x" + keccak(text=f"slipstream recorded market {recorded_condition_id}").hex()


def build_local_market(
    number: int,
    recorded: RecordedMarket,
    *,
    condition_id: str,
    token_ids: tuple[str, str],
    question_id: str = "",
) -> Market:
    """The local market that replaces a recorded one: its texts, tick and fee, but other ids."""
    return Market(
        id=str(900_000 + number),
        condition_id=condition_id,
        question_id=question_id,
        token_ids=token_ids,
        outcomes=(recorded.outcomes.get(0) or "Yes", recorded.outcomes.get(1) or "No"),
        question=recorded.question,
        slug=recorded.slug or f"recorded-{number}",
        event_slug=recorded.event_slug or f"recorded-{number}",
        tick=recorded.tick,
        fee_rate=recorded.fee_rate,
    )


def shares_sold(timeline: Timeline, condition_id: str) -> Mapping[str, int]:
    """Micro-shares by recorded wallet of all that it sells in this market, whichever outcome, with
    an allowance for rounding: what it needs of one outcome at most.
    """
    needed: dict[str, int] = {}
    for trade in timeline.trades:
        if trade.condition_id != condition_id:
            continue
        for fill in trade.fills:
            if fill.side is Side.SELL:
                needed[fill.wallet] = needed.get(fill.wallet, 0) + fill.shares + _ROUNDING_ALLOWANCE
    return needed
