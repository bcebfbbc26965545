"""The errors that a handler may raise about a message, and what the message loop does with each.

    MessageError
    ├── InvalidMessage    will never succeed           parked as a dead letter, with the reason
    ├── Transient         may succeed later            retried, while only its key waits
    └── UnknownVersion    written by a newer release   stored for a release that knows it

A lost reply of the venue is not an error: it is the state ``UNKNOWN`` of an order, and the handler
deals with it. Any other exception is a bug of ours: the loop stops the process, and the offset does
not move.
"""


class MessageError(Exception):
    """A message could not be handled, for a known reason.

    The text must not contain a secret: it is logged and stored with the dead letter.
    """


class InvalidMessage(MessageError):
    """The message can never be handled: it is malformed, or its contents are impossible."""


class Transient(MessageError):
    """A dependency did not answer, or reported a temporary failure.

    Nothing is known to have happened.
    """


class UnknownVersion(MessageError):
    """The message is of a type, or of a version of its type, that this release does not know."""


class InvalidSettings(Exception):
    """The process cannot start with its settings.

    The text has the variable, its value and what is required, but never the value of a secret.
    """
