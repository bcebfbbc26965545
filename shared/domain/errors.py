"""What can go wrong with a message, and who acts on it.

You are here to look up what to raise:

    MessageError
    ├── InvalidMessage    will never succeed                  the loop parks it as a dead letter, with the reason
    ├── Transient         may succeed later                   the loop tries again while that key alone waits
    └── UnknownVersion    written by a newer release than us  the loop puts it aside for a release that knows it

A lost answer from the venue is not an error: it is the state ``UNKNOWN`` of an order, and the
handler's business. Anything else that is raised is a bug of ours: the loop stops the process with
the offset unmoved.
"""


class MessageError(Exception):
    """A message could not be handled, and we know what that means. The text must carry no secret:
    it is logged and parked.
    """


class InvalidMessage(MessageError):
    """The message can never be handled: malformed, or of an impossible content."""


class Transient(MessageError):
    """A dependency did not answer, or answered that it cannot now. Nothing is known to have
    happened.
    """


class UnknownVersion(MessageError):
    """The message is of a type, or of a version of its type, that this release does not know."""


class InvalidSettings(Exception):
    """The process cannot start: names the variable, what it got and what it wants. Never carries a
    secret's value.
    """
