"""Rollbook, a service registry: sign in, find each other, be told within milliseconds when that changes."""

from rollbook.administration import Administration
from rollbook.cache import InstanceList
from rollbook.checkers import CheckerSettings
from rollbook.client import NamingClient, ServicePage
from rollbook.durable import Intent, Namespace, ServiceSettings
from rollbook.durable_bodies import ServiceShown, ShownIntent
from rollbook.errors import (
    ClientClosed,
    ClientIdInUse,
    ClusterUnreachable,
    Code,
    InvalidField,
    NoHealthyInstance,
    NotConfirmed,
    OutcomeUnknown,
    Refused,
    RollbookError,
)
from rollbook.kept_rows import DurablePage, DurableRows, InstanceRow, IntentRow, NamespaceRow, ServiceRow
from rollbook.model import Difference, Instance, Service, View

__all__ = [
    "Administration",
    "CheckerSettings",
    "ClientClosed",
    "ClientIdInUse",
    "ClusterUnreachable",
    "Code",
    "Difference",
    "DurablePage",
    "DurableRows",
    "Instance",
    "InstanceList",
    "InstanceRow",
    "Intent",
    "IntentRow",
    "InvalidField",
    "Namespace",
    "NamespaceRow",
    "NamingClient",
    "NoHealthyInstance",
    "NotConfirmed",
    "OutcomeUnknown",
    "Refused",
    "RollbookError",
    "Service",
    "ServicePage",
    "ServiceRow",
    "ServiceSettings",
    "ServiceShown",
    "ShownIntent",
    "View",
]
