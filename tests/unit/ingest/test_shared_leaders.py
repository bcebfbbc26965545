"""Each followed leader is watched by the instance of his partition, also during a rebalance."""

from itertools import chain, repeat

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.adapters import SharedLeaders
from shared.db.leases import Lease
from shared.streams.partitioning import Ownership
from tests.builders import LEADER
from tests.feeds import PARTITIONS, FakeLeases, Instance, partition_number
from tests.unit.ingest.test_data_feed import an_address

LEADERS = frozenset(an_address(number) for number in range(50))


@given(owners=st.lists(st.integers(0, 2), min_size=PARTITIONS, max_size=PARTITIONS))
def test_each_leader_is_watched_by_exactly_one_instance(owners: list[int]) -> None:
    instances = [
        Instance(lambda: LEADERS, [part for part in range(PARTITIONS) if owners[part] == number])
        for number in range(3)
    ]

    for of_instance in (
        [leader for each in instances for leader in each.shared.assigned()],
        [leader for each in instances for leader in each.shared.lease_by_leader()],
        [
            leader
            for each in instances
            for group in each.shared.by_lease().values()
            for leader in group
        ],
    ):
        assert sorted(of_instance) == sorted(LEADERS)


def test_during_a_rebalance_the_leaders_of_the_last_assignment_are_watched_on() -> None:
    instance = Instance(lambda: LEADERS, [0, 1])
    before = instance.shared.assigned()

    instance.ownership.revoke()
    assert instance.shared.assigned() == before

    instance.assign([2])
    assert instance.shared.assigned() == {each for each in LEADERS if partition_number(each) == 2}


def test_an_instance_without_partitions_watches_nobody() -> None:
    instance = Instance(lambda: LEADERS, [0])
    assert instance.shared.assigned()

    instance.ownership.revoke()
    instance.assign([])

    assert instance.shared.assigned() == frozenset()


def test_before_the_first_assignment_nobody_is_watched() -> None:
    shared = SharedLeaders(lambda: LEADERS, Ownership(), FakeLeases([]))

    assert shared.assigned() == frozenset()
    assert shared.by_lease() == {}
    assert not shared.is_assigned(LEADER)


def test_a_leader_is_watched_as_soon_as_he_is_followed() -> None:
    followed = frozenset[str]()
    instance = Instance(lambda: followed)
    assert instance.shared.assigned() == frozenset()

    followed = frozenset({LEADER})

    assert instance.shared.assigned() == {LEADER}
    assert set(instance.shared.lease_by_leader()) == {LEADER}


def test_only_leased_partitions_are_read_on_and_one_without_leaders_as_well() -> None:
    instance = Instance(lambda: {LEADER}, [0, 1, 2, 3])
    del instance.leases.token_by_partition[partition_number(LEADER)]

    groups = instance.shared.by_lease()

    assert len(groups) == PARTITIONS - 1
    assert set(groups.values()) == {()}
    assert instance.shared.assigned() == {LEADER}


class EndingLeases(FakeLeases):
    """Leases that end after they were read once."""

    def __init__(self, lease: Lease) -> None:
        super().__init__([])
        self._answers = chain([(lease,)], repeat(()))

    @property
    def held(self) -> tuple[Lease, ...]:
        return next(self._answers)


def test_a_lease_that_ends_while_it_is_read_leaves_no_partition_without_its_leaders() -> None:
    number = partition_number(LEADER)
    lease = Lease(partition=number, token=1, valid_until=0)
    shared = SharedLeaders(lambda: {LEADER}, Instance(set).ownership, EndingLeases(lease))

    assert shared.by_lease() == {(number, 1): (LEADER,)}
