"""What IndexManager says of clients: who publishes a service, and what one session watches. Pure rules."""

from __future__ import annotations

from heapq import nsmallest

from actors.client_questions import check_size
from actors.messages.index import SubscriptionsWanted
from actors.service_index import ServiceIndex
from actors.views import live_winner
from rollbook.known_clients import ListPublishers, Publisher, PublishersListed, SubscriptionsListed


def publishers_listed(index: ServiceIndex, body: ListPublishers) -> PublishersListed:
    """Those whose word counts; what is hidden or superseded makes nobody a publisher."""
    size, entry = check_size(body.size), index.entries.get(body.service)
    if entry is None:
        return PublishersListed(())
    clients = nsmallest(size, (client for client in entry.clients if client > body.after))
    hidden = index.filter_of(body.service)
    winners = (live_winner(entry.clients[client], hidden) for client in clients)
    shown = tuple(
        Publisher(winner.key.client, tuple(instance.key for instance in winner.instances))
        for winner in winners
        if winner is not None
    )
    return PublishersListed(shown, clients[-1] if len(clients) == size else "")


def subscriptions_listed(index: ServiceIndex, wanted: SubscriptionsWanted) -> SubscriptionsListed:
    size, after = check_size(wanted.size), wanted.after
    services = index.subscriptions.get(wanted.subscriber, {})
    first = nsmallest(size, services if after is None else (one for one in services if one > after))
    return SubscriptionsListed(tuple(first), first[-1] if len(first) == size else None)
