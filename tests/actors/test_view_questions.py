"""When the view of a touched service is asked for."""

from __future__ import annotations

from actors.messages.index import ViewsWanted
from actors.push_table import PushAgenda, PushTopic
from actors.view_questions import VIEWS_WANTED_MAX, ViewQuestions
from rollbook.model import Service

INTERVAL_MS = 50


class Asking:
    """The topics "a", "b" ..., and what is asked about them."""

    def __init__(self, count: int = 1) -> None:
        self.agenda = PushAgenda()
        self.questions = ViewQuestions(self.agenda, INTERVAL_MS)
        services = [Service("public", "DEFAULT_GROUP", f"s{number}") for number in range(count)]
        self.topics = [PushTopic(service) for service in services]

    def touched(self, now_ms: int) -> tuple[Service, ...]:
        for topic in self.topics:
            self.questions.touch(topic, now_ms)
        return self.asked()

    def asked(self) -> tuple[Service, ...]:
        wanted = self.questions.take()
        self.questions.check_invariants({topic.service: topic for topic in self.topics})
        return wanted.services if isinstance(wanted, ViewsWanted) else ()

    def answered(self, now_ms: int, *, is_news: bool) -> None:
        self.questions.answered()
        for topic in self.topics:
            topic.asked = False
            if is_news:
                self.questions.rest(topic, now_ms)


def test_a_touch_is_asked_about_at_once_and_not_again_before_the_answer() -> None:
    asking = Asking()
    assert asking.touched(1_000) == (asking.topics[0].service,)
    assert asking.touched(1_001) == ()
    asking.questions.answered()
    assert asking.asked() == (), "the answer shows the second touch as well"


def test_after_news_the_next_question_waits_for_the_end_of_the_interval() -> None:
    asking = Asking()
    asking.touched(1_000)
    asking.answered(1_002, is_news=True)
    assert asking.touched(1_051) == ()
    assert asking.agenda.earliest_ms() == 1_052
    (due,) = asking.agenda.take_due(1_052)
    assert due == asking.topics[0].service
    asking.questions.want(asking.topics[0])
    assert asking.asked() == (asking.topics[0].service,)


def test_after_an_answer_that_was_no_news_nothing_waits() -> None:
    asking = Asking()
    asking.touched(1_000)
    asking.answered(1_002, is_news=False)
    assert asking.touched(1_003) == (asking.topics[0].service,)


def test_one_question_at_a_time_and_none_above_its_limit() -> None:
    asking = Asking(VIEWS_WANTED_MAX + 3)
    first = asking.touched(1_000)
    assert (len(first), asking.asked()) == (VIEWS_WANTED_MAX, ())
    asking.questions.answered()
    assert asking.asked() == tuple(topic.service for topic in asking.topics[VIEWS_WANTED_MAX:])


def test_a_service_that_nobody_subscribes_to_any_more_is_not_asked_about() -> None:
    asking = Asking(2)
    for topic in asking.topics:
        asking.questions.touch(topic, 1_000)
    gone = asking.topics.pop(0)
    asking.questions.forget(gone.service)
    assert asking.asked() == (asking.topics[0].service,)
