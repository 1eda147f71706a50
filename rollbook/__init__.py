"""Rollbook, a service registry: sign in, find each other, be told within milliseconds when that changes."""

from rollbook.cache import InstanceList
from rollbook.client import NamingClient, ServicePage
from rollbook.errors import (
    ClientClosed,
    ClientIdInUse,
    ClusterUnreachable,
    Code,
    InvalidField,
    NoHealthyInstance,
    NotConfirmed,
    Refused,
    RollbookError,
)
from rollbook.model import Difference, Instance, Service, View

__all__ = [
    "ClientClosed",
    "ClientIdInUse",
    "ClusterUnreachable",
    "Code",
    "Difference",
    "Instance",
    "InstanceList",
    "InvalidField",
    "NamingClient",
    "NoHealthyInstance",
    "NotConfirmed",
    "Refused",
    "RollbookError",
    "Service",
    "ServicePage",
    "View",
]
