"""What the handler makes of a requested transfer, and of its repetitions."""

from dataclasses import dataclass, field, replace

import pytest

from services.tx_monitor.handler import Handler
from shared.domain.errors import InvalidMessage
from shared.messages.transfers import TransferReported, TransferState
from tests.builders import NOON, TOKEN, seconds
from tests.fakes import Clock, FakeTransfers, FakeWatches
from tests.transfers import OPERATOR, a_transfer_request


@dataclass
class Bench:
    transfers: FakeTransfers = field(default_factory=FakeTransfers)
    woken: list[str] = field(default_factory=list)

    def build_handler(self, *, has_key: bool = True) -> Handler:
        return Handler(
            watches=FakeWatches(),
            transfers=self.transfers,
            has_key=lambda operator: has_key and operator == OPERATOR,
            wake=self.woken.append,
            now=Clock(NOON),
            give_up_after=seconds(60),
        )

    def close(self, state: TransferState) -> None:
        recorded = self.transfers.transfers["transfer-1"]
        self.transfers.transfers["transfer-1"] = replace(recorded, state=state, reason="why")


async def test_a_request_is_recorded_once_and_wakes_its_wallet() -> None:
    bench = Bench()
    handler = bench.build_handler()

    for _ in range(2):
        assert await handler.on_transfer_requested(a_transfer_request()) == []

    assert [each.state for each in bench.transfers.transfers.values()] == [TransferState.QUEUED]
    assert bench.woken == [OPERATOR, OPERATOR]


async def test_a_request_without_the_key_is_refused_and_answered_each_time() -> None:
    bench = Bench()

    for has_key in (False, True):
        handler = bench.build_handler(has_key=has_key)
        (report,) = await handler.on_transfer_requested(a_transfer_request())
        assert isinstance(report, TransferReported)
        assert report.state is TransferState.REFUSED
        assert "key" in report.reason

    assert bench.woken == []


@pytest.mark.parametrize(
    "state", [TransferState.FINAL, TransferState.CANCELLED, TransferState.LOST]
)
async def test_a_closed_one_is_reported_again(state: TransferState) -> None:
    bench = Bench()
    handler = bench.build_handler()
    await handler.on_transfer_requested(a_transfer_request())
    bench.close(state)

    (report,) = await handler.on_transfer_requested(a_transfer_request())

    assert isinstance(report, TransferReported)
    assert (report.state, report.reason) == (state, "why")


async def test_other_terms_are_refused_by_what_differs() -> None:
    handler = Bench().build_handler()
    await handler.on_transfer_requested(a_transfer_request())

    with pytest.raises(
        InvalidMessage, match=r"token_id None and now \d+, amount 5000000 and now 6"
    ):
        await handler.on_transfer_requested(a_transfer_request(amount=6, token_id=TOKEN))


@pytest.mark.parametrize("token_id", ["", "-1", "0x5", "1.0", "٣", str(2**256), "9" * 5000])
async def test_a_token_that_is_no_number_is_refused(token_id: str) -> None:
    bench = Bench()

    with pytest.raises(InvalidMessage, match="token_id"):
        await bench.build_handler().on_transfer_requested(a_transfer_request(token_id=token_id))

    assert bench.transfers.transfers == {}
