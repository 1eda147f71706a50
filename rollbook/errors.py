"""Every error that crosses the wire or the SDK's door, with its stable code.

Codes below 30000 are those of the original registry where it has one; codes from 31000 are ours.
An error says what happened (``message``), which field erred (``field``, empty if none) and whether the same request
may succeed later (``retryable``).
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Stable error codes; append only."""

    PARAMETER_INVALID = 20002
    SERVICE_NAME_INVALID = 21000
    INSTANCE_WEIGHT_INVALID = 21001
    INSTANCE_METADATA_INVALID = 21002
    INSTANCE_NOT_FOUND = 21003
    INSTANCE_INVALID = 21004
    SERVICE_METADATA_INVALID = 21005
    SERVICE_EXISTS = 21007
    SERVICE_NOT_FOUND = 21008
    SERVICE_IN_USE = 21009
    HEALTH_PROBED = 21011
    KIND_MISMATCH = 400
    NOT_READY = 300
    OVER_LIMIT = 503
    INTERNAL = 500
    SESSION_REQUIRED = 31001
    SESSION_STALE = 31002
    SESSION_SUPERSEDED = 31003
    CLIENT_ID_IN_USE = 31004
    FRAME_INVALID = 31005
    VERSION_UNSUPPORTED = 31006
    TAG_UNKNOWN = 31007
    FRAME_TOO_LARGE = 31008
    NOT_CONFIRMED = 31009
    NODE_LEAVING = 31010
    CLUSTER_MISMATCH = 31011
    NODE_ID_IN_USE = 31012
    UNREACHABLE = 31013
    CLIENT_CLOSED = 31014
    ADDRESS_MISMATCH = 31015
    NO_HEALTHY_INSTANCE = 31016
    STORE_UNAVAILABLE = 31017
    OUTCOME_UNKNOWN = 31018
    READING_OVER = 31019
    CHANGED_MEANWHILE = 31020


RETRYABLE = frozenset(
    {
        Code.NOT_READY,
        Code.OVER_LIMIT,
        Code.NODE_LEAVING,
        Code.NOT_CONFIRMED,
        Code.SESSION_REQUIRED,
        Code.UNREACHABLE,
        Code.STORE_UNAVAILABLE,
        Code.OUTCOME_UNKNOWN,
        Code.READING_OVER,
    }
)


class RollbookError(Exception):
    """What every call of the SDK may raise; ``code`` is one of :class:`Code` (or a later node's own number)."""

    code: int = Code.INTERNAL

    def __init__(
        self, message: str, *, code: int | None = None, field: str = "", retryable: bool | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.code if code is None else code
        self.field = field
        self.retryable = self.code in RETRYABLE if retryable is None else retryable


class InvalidField(RollbookError, ValueError):
    """The caller's value breaks a rule of the model; ``field`` names it."""

    code = Code.PARAMETER_INVALID


class Refused(RollbookError):
    """The node understood and said no; ``retryable`` says whether another try or another node can help."""


class ClusterUnreachable(RollbookError, ConnectionError):
    """No node of the server list answered in time."""

    code = Code.UNREACHABLE


class RequestTimeout(RollbookError, TimeoutError):
    """The node that was asked did not answer in time; nobody knows what became of the request."""

    code = Code.UNREACHABLE


class NotConfirmed(RollbookError, TimeoutError):
    """Done on one node, but ``nodes`` had not confirmed it in time; with ``wait="subscribers"`` because of, as far as
    they know, ``subscribers`` (each ``client_id@node``)."""

    code = Code.NOT_CONFIRMED

    def __init__(self, message: str, *, nodes: tuple[str, ...] = (), subscribers: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.nodes = nodes
        self.subscribers = subscribers


class OutcomeUnknown(RollbookError, TimeoutError):
    """A write of durable data may have been carried out or not; nobody could say so in time. Repeating it is safe."""

    code = Code.OUTCOME_UNKNOWN


class ClientIdInUse(RollbookError):
    """Another process opened a session with this client id; this one stays away for good."""

    code = Code.CLIENT_ID_IN_USE


class ClientClosed(RollbookError):
    """The NamingClient was closed before or during the call."""

    code = Code.CLIENT_CLOSED


class NoHealthyInstance(RollbookError, LookupError):
    """The service has nobody to choose from at the moment."""

    code = Code.NO_HEALTHY_INSTANCE


class RemoteProtocolError(RollbookError):
    """The other side sent what the protocol does not allow."""

    code = Code.FRAME_INVALID


class SettingsError(RollbookError):
    """A configuration value is unknown, missing or out of range; one line for the operator, exit code 2."""

    code = Code.PARAMETER_INVALID
