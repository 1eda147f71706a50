"""What IndexManager says of clients: who publishes a service, and what one session watches. Pure rules."""

from __future__ import annotations

from heapq import nsmallest

from actors.client_questions import check_size
from actors.messages.index import SubscriptionsWanted
from actors.service_index import ServiceIndex
from actors.views import live_winners
from rollbook.known_clients import ListPublishers, Publisher, PublishersListed, SubscriptionsListed


def publishers_listed(index: ServiceIndex, body: ListPublishers) -> PublishersListed:
    """Those whose word counts; what is hidden, superseded or succeeded makes nobody a publisher."""
    size, entry = check_size(body.size), index.entries.get(body.service)
    if entry is None:
        return PublishersListed(())
    clients = nsmallest(size, (client for client in entry.clients if client > body.after))
    winners = live_winners(entry.clients.values(), index.filter_of(body.service))
    listed = {winner.key.client: winner.instances for winner in winners}
    shown = tuple(
        Publisher(client, tuple(instance.key for instance in listed[client])) for client in clients if client in listed
    )
    return PublishersListed(shown, clients[-1] if len(clients) == size else "")


def subscriptions_listed(index: ServiceIndex, wanted: SubscriptionsWanted) -> SubscriptionsListed:
    size, after = check_size(wanted.size), wanted.after
    services = index.subscriptions.get(wanted.subscriber, {})
    first = nsmallest(size, services if after is None else (one for one in services if one > after))
    return SubscriptionsListed(tuple(first), first[-1] if len(first) == size else None)
