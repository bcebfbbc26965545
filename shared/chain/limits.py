"""How much is asked of a node at once. Pure."""

GROW_AFTER = 20
"""Full requests that a node must have answered before more is asked of it again."""


class Limit:
    """A size that is lowered where a node refuses it, and grows again slowly: what a provider
    allows can change, and one refusal may have had another reason.
    """

    def __init__(self, maximum: int) -> None:
        self.value = self._maximum = maximum
        self._answered = 0
        """Full requests since the value was set."""

    def worked(self, allowed: int, *, used: int) -> None:
        """Record that the node answered: ``allowed`` was the size aimed at, ``used`` what the
        request had of it. A size is remembered only when it has worked: what is refused at every
        size says nothing about sizes.
        """
        if allowed < self.value:
            self.value, self._answered = allowed, 0
        elif used >= self.value:
            self._answered += 1
            if self._answered >= GROW_AFTER:
                self.value, self._answered = min(self._maximum, 2 * self.value), 0

    def lower(self, *, minimum: int) -> None:
        """Halve the value, where it is above the minimum, and not below that."""
        if self.value > minimum:
            self.value, self._answered = max(minimum, self.value // 2), 0
