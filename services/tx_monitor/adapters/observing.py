"""What the nodes show of an operator wallet in a round, with the figures and concerns about it."""

import logging
from collections.abc import Sequence
from datetime import timedelta

from services.tx_monitor.adapters.transfer_store import WalletRecords
from services.tx_monitor.adapters.wallet_tools import Tools
from services.tx_monitor.decisions.actions import list_wallet_concerns
from services.tx_monitor.decisions.policy import GWEI
from services.tx_monitor.decisions.transfers import Seen, Transfer
from services.tx_monitor.decisions.views import (
    NodeView,
    list_concerns,
    list_delays,
    list_disputes,
    merge_views,
)
from shared.observe import metrics

logger = logging.getLogger(__name__)


async def observe_wallet(operator: str, followed: Sequence[Transfer], tools: Tools) -> Seen:
    """Ask the nodes about the wallet and these open transfers. Concerns about the nodes are logged.

    Raises: Transient where no node answered.
    """
    nodes, policy = tools.nodes, tools.policy
    views = await nodes.observe(operator, followed)
    now = tools.now()
    concerns = list_concerns(views, asked=nodes.count, now=now, policy=policy)
    log_concerns(tools, f"the nodes of operator wallet {operator}", concerns)
    _measure_nodes(views, tools)
    return merge_views(views, asked=nodes.count, now=now, policy=policy)


def judge_wallet(
    operator: str,
    queued: Sequence[Transfer],
    followed: Sequence[Transfer],
    records: WalletRecords,
    seen: Seen,
    tools: Tools,
) -> None:
    """Log the concerns about the wallet itself, and set its figures."""
    concerns = list_wallet_concerns(queued, followed, next_nonce=records.next_nonce, seen=seen)
    log_concerns(tools, f"operator wallet {operator}", concerns)
    if seen.finalized is not None:
        metrics.finality_lag(seen.finality_lag // timedelta(seconds=1))
    metrics.wallet_seen(
        operator,
        gas_gwei=seen.gas_balance // GWEI,
        next_nonce=max(records.next_nonce, seen.nonce_floor),
    )


def log_concerns(tools: Tools, subject: str, concerns: Sequence[str]) -> None:
    """Log them, where others were logged of this subject last, or none."""
    text = "; ".join(concerns)
    if tools.changes.is_new(subject, text):
        log_concern(subject, text)


def log_concern(subject: str, text: str) -> None:
    """``text``: empty where there is no concern any more."""
    if text:
        logger.warning("%s: %s", subject, text)
    else:
        logger.info("%s: nothing is wrong any more", subject)


def _measure_nodes(views: Sequence[NodeView], tools: Tools) -> None:
    now, policy = tools.now(), tools.policy
    disputes = list_disputes(views, now=now, policy=policy)
    delays = list_delays(views, now=now, policy=policy)
    metrics.node_concerns(metrics.NodeConcern.SILENT, tools.nodes.count - len(views))
    metrics.node_concerns(metrics.NodeConcern.DISPUTED, len(disputes))
    metrics.node_concerns(metrics.NodeConcern.LATE, len(delays))
