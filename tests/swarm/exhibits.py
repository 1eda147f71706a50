"""What the museum shows: bugs that were found, each with what was wrong, and what shows that it does not come back."""

from __future__ import annotations

from typing import NamedTuple


class Exhibit(NamedTuple):
    name: str
    wrong: str  # what happened, to whom
    fixed: str  # what has been done about it, in which commit
    ablation: str = ""  # puts it back
    file: str = ""  # of the named scenario, if no plan shows it
    test: str = ""


EXHIBITS = (
    Exhibit(
        "late-clients",
        "node and client both waited 4 s for a silent connection; the node was first, and a live instance was missing"
        " until its client had signed in elsewhere",
        "clients notice after 2 s; docs/adr/0007 (b3a7353)",
        file="tests/simulation/test_sdk_in_a_cluster.py",
        test="test_an_application_cut_off_from_its_node_moves_and_stays_listed",
    ),
    Exhibit(
        "stood-still-and-went-on",
        "a node that had stood still released what had moved meanwhile, or showed who had died, before it knew",
        "it settles for 3 s; docs/adr/0007 (b3a7353, 901f485)",
        "no-settling",
    ),
    Exhibit(
        "deaths-counted-one-by-one",
        "nodes that were lost at one moment passed their thresholds one after the other, and the first was hidden"
        " before the second counted",
        "who misses more than half of the members hides nobody; docs/adr/0007 (4f98139)",
        "deaths-counted-one-by-one",
    ),
    Exhibit(
        "purged-during-its-own-pause",
        "an owner that was given up while it stood still sent a delta when it went on, and what had died meanwhile was"
        " shown again",
        "nothing is taken of it before its heart beats (4f98139)",
        "purged-deltas-taken",
    ),
    Exhibit(
        "flash-after-an-isolation",
        "an owner that was heard again was shown before its removals had come: dead instances for up to 3.5 s",
        "it is shown when what it had done by its first heartbeat is here (0cb8e7d)",
        "shown-at-once",
    ),
    Exhibit(
        "moved-to-a-returning-owner",
        "a node that had been cut off heard of its client's newer session at an owner that it still hid: the record"
        " won, was dropped as hidden, and the living client vanished until that owner was shown",
        "what has come since its owner was hidden takes the place of an older session that is listed",
        file="tests/simulation/test_returning_owners.py",
        test="test_a_client_that_moves_to_a_hidden_owner_stays_listed_where_that_owner_is_still_hidden",
    ),
    Exhibit(
        "moved-and-removed-at-once",
        "the tombstone of a session that had moved overtook the new session's record on its way to a third node",
        "it is written when the grace of the old session has ended (b3a7353)",
        "removed-when-moved",
    ),
    Exhibit(
        "older-session-behind-a-dropped-tombstone",
        "of too many tombstones one was dropped that kept an older session's record at another owner hidden: the dead"
        " client was listed again",
        "such a tombstone stays until it is old (0cb8e7d); what is removed takes out of the index what older sessions"
        " of its client have left",
        file="tests/simulation/test_forgotten_withdrawals.py",
        test="test_what_was_withdrawn_elsewhere_is_not_listed_by_a_node_that_starts_when_tombstones_are_too_many",
    ),
    Exhibit(
        "zombie-for-thirty-seconds",
        "a node that was restarted after an owner's death did not know that owner's address, so no evidence counted"
        " and it listed the dead for 30 s, while the others had let go after 6",
        "who has not said its name may be the owner (0cb8e7d)",
        "nameless-never-judged",
    ),
    Exhibit(
        "thirty-seconds-behind-a-bridge",
        "of seven nodes one alone reached both sides, and an owner died: on its side nobody had heard of four links to"
        " it, so the dead were listed for 30 s, while the others had let go after 12 (300003 and 300044 of 7 nodes)",
        "who cannot reach an owner either believes a peer that hides it",
        "verdicts-not-believed",
    ),
    Exhibit(
        "heartbeats-from-before-a-pause",
        "a counter that an owner had raised while it was cut off, before it stood still, was told after that as new:"
        " the others showed it again, with who had died in its pause",
        "the own counter is as old as the last beat that proved life",
        "old-heartbeats-count",
    ),
    Exhibit(
        "judged-by-a-fresh-node",
        "a node that was restarted among a minority hid the living of the other side, by the ages that it was told,"
        " before it had missed anybody long enough to preserve them",
        "as long as it hears less than half of the members it hides nobody",
        "fresh-nodes-judge",
    ),
    Exhibit(
        "last-words-read-slowly",
        "a node that had stood still for longer than a lease read each frame 0.4 s late (patiences divided by five):"
        " after its second beat it took the last words of an owner that had died meanwhile for new, and two nodes that"
        " had started since listed for a lease more what had been withdrawn there (22000042 of 3 nodes)",
        "what comes over a link is as old as the pause until the link has answered a ping that left since;"
        " docs/adr/0007",
        file="tests/actors/test_member_pauses.py",
        test="test_a_node_that_reads_slowly_after_it_stood_still_knows_by_an_answer_that_all_is_read_that_waited",
    ),
    Exhibit(
        "alone-with-an-orphan",
        "a node that had heard of a restart, and then nobody, hid what the node's earlier life had left, while its"
        " clients were long signed in where it could not hear",
        "who misses more than half of the members hides nobody, from half a suspicion on, and for a beat after they are"
        " back",
        file="tests/simulation/test_fresh_judges.py",
        test="test_a_node_that_is_alone_keeps_what_a_restarted_node_has_left_for_its_clients_may_be_anywhere",
    ),
    Exhibit(
        "beat-taken-before-a-pause",
        "a node stood still between the moment when its record table took the beat and the moment when the beat was"
        " told: its heart seemed to beat, and the others showed it again with clients that had died meanwhile",
        "a heartbeat is as old as what it was taken with",
        file="tests/actors/test_liveness.py",
        test="test_a_beat_that_was_taken_before_a_pause_is_as_old_as_that",
    ),
    Exhibit(
        "goodbye-overtaken",
        "a client closed the connection that it moved away from right behind its goodbye, and the goodbye was sometimes"
        " lost: the node took the session for dead, and did not list the instance until it heard of it from others."
        " Found by an hour of real faults; in one of four rebalanced clusters",
        "the connection stands until the goodbye was answered",
        file="tests/client/test_session_moves.py",
        test="test_the_old_session_ends_only_when_the_new_one_has_redone_everything",
    ),
    Exhibit(
        "removed-by-a-minority",
        "a node that was cut off with a minority ended the grace of who had moved to the other side: it could not hear"
        " of the newer session, wrote tombstones and listed live instances no more",
        "while it preserves it keeps what no newer session has said anything about; docs/adr/0007",
        file="tests/simulation/test_moved_in_a_minority.py",
        test="test_a_minority_lists_who_has_moved_away_until_it_hears_where",
    ),
    Exhibit(
        "withdrawn-while-its-node-stood-still",
        "a node that stood still showed again what its client had withdrawn at another one, whose end had taken the"
        " removal with it. Once more, after that was fixed, where every patience is divided: one of a second was none"
        " of the settings, and outlasted the whole settling (600062 of 5 nodes)",
        "what no newer session has goes before that node is heard again; the second is a setting like any other",
        file="tests/simulation/test_forgotten_withdrawals.py",
        test="test_what_was_withdrawn_while_its_node_stood_still_is_not_shown_again_when_the_removal_is_forgotten",
    ),
    Exhibit(
        "stranger-in-a-minority",
        "a node that had started during a cut met an owner in its own minority for the first time and hid it for a"
        " lease, since that one could not say what it had yet to remove (7200026 of 7 nodes)",
        "a node that misses most of the members hides nobody, strangers neither",
        file="tests/simulation/test_moved_in_a_minority.py",
        test="test_a_node_alone_shows_at_once_whom_it_meets_for_the_first_time",
    ),
    Exhibit(
        "newest-at-every-redo",
        "a stamp was given while a clock was an hour ahead; after a cold start each redo of that client lay in the"
        " node's future, got the time of now, and overtook whoever had published the same since (7200019 of 3 nodes)",
        "a client claims the lower stamp that a redo was answered with",
        file="tests/client/test_session_redo.py",
        test="test_a_stamp_from_the_future_of_another_node_is_claimed_once_and_not_at_every_redo",
    ),
    Exhibit(
        "addresses-of-yesterday",
        "machine after machine was replaced by one with another address; a session that stood all the while knew"
        " only the old ones, and its client found no node when its own was replaced (7700010 of 3 nodes)",
        "nodes tell their sessions when the members have other addresses (SERVERS)",
        file="tests/simulation/test_sdk_in_a_cluster.py",
        test="test_a_session_outlives_every_address_that_it_was_told_when_it_was_opened",
    ),
    Exhibit(
        "superseded-and-back",
        "a client died with its node, and the node that it had left before was dead as well, but in no list and so not"
        " yet judged: when the newer record was purged, the older one was listed (3000020 of 7 nodes)",
        "what is removed takes out of the index what older sessions of its client have left",
        file="tests/simulation/test_forgotten_withdrawals.py",
        test="test_what_was_superseded_at_a_dead_node_is_not_shown_again_when_that_one_is_given_up",
    ),
    Exhibit(
        "guard-ended-in-a-minority",
        "an owner that had been cut off came back while a service was still guarded, but one node had lost the majority"
        " meanwhile and could not hear it: there the guard ended, and a list that said `preserved` lost live instances"
        " (500069 of 5 nodes)",
        "no guard ends while its node preserves; docs/adr/0011",
        file="tests/simulation/test_shrink_guard.py",
        test="test_a_guard_does_not_end_at_a_node_that_cannot_hear_that_the_owner_is_back",
    ),
    Exhibit(
        "forgotten-and-met-for-the-first-time",
        "a client had moved out of a minority, withdrawn and died with its new node; after the cut a node that had"
        " started meanwhile showed at once what the minority still kept: it could not know, as the others did, that the"
        " owner had been given up (500073 of 7 nodes; scenario: tests/simulation/test_moved_in_a_minority.py)",
        "a node that serves shows an owner that it has never met when what that has done is here; docs/protocol 2.4",
        "strangers-shown",
    ),
    Exhibit(
        "ended-before-it-let-go",
        "a client had moved out of a minority and died with its new node; after the cut its old node was heard again,"
        " hidden still because it had yet to remove what was left, and ended before it did: a lease after its return"
        " the others showed that until its grace ended (11000001 of 7 nodes)",
        "an epoch that has ended is not shown for want of patience; docs/protocol 2.4",
        file="tests/simulation/test_moved_in_a_minority.py",
        test="test_who_has_moved_out_of_a_minority_and_died_is_not_shown_when_the_old_node_ends_before_it_let_go",
    ),
    Exhibit(
        "returned-to-a-minority",
        "a node had hidden an owner that was cut off, then lost the others itself and heard that owner again: that one"
        " could not say what it had yet to remove, for it heard nobody else, and stayed hidden for a lease with clients"
        " that had just signed in there (11000117 of 5 nodes)",
        "who misses most of the members shows whom it hears again after a beat; docs/adr/0007",
        file="tests/simulation/test_moved_in_a_minority.py",
        test="test_an_owner_that_comes_back_to_a_node_alone_is_shown_though_it_cannot_let_go_of_anything",
    ),
    Exhibit(
        "read-after-its-end",
        "a check: a client that stood still read, when it went on, what its node had told it before the whole cluster"
        " was restarted, and the list was taken for the word of the node's next life (13000044 of 3 nodes)",
        "a list belongs to the life in which its session was opened",
        file="tests/swarm/test_checks.py",
        test="test_what_a_node_said_before_its_end_may_be_read_after_its_start",
    ),
    Exhibit(
        "read-by-one-that-stood-still",
        "a check: all nodes but one ended, and that one stood still for less than it would notice; an owner's last"
        " heartbeat was new to it when it went on, and who loaded from it was to know better (11000229 of 7 nodes)",
        "who starts since has as long as whom it can have the age from",
        file="tests/swarm/test_checks.py",
        test="test_who_starts_may_have_the_age_of_a_dead_owner_from_one_that_stood_still_at_its_end",
    ),
    Exhibit(
        "ready-between-two-who-were-alone",
        "a node started where the two others had just been cut off from each other: it had a majority with the first,"
        " and was ready before the other had told it anything, or while it hid that one still (11000228 of 3 nodes)",
        "digests say who has missed most of the members, and those make no majority; docs/adr/0007",
        file="tests/simulation/test_message_failures.py",
        test="test_d21_a_node_that_starts_between_two_who_were_alone_is_ready_when_it_knows_what_both_know",
    ),
    Exhibit(
        "confirmed-and-read-late",
        "a check: a client stood still, was given up, and read when it went on that everybody had what it published"
        " before; that was to be true at this moment (13000038 of 3 nodes)",
        "nobody knows when that was said which is read by a client that has just stood still",
        file="tests/simulation/test_history_checks.py",
        test="test_what_a_client_reads_when_it_has_stood_still_may_have_been_said_long_before",
    ),
    Exhibit(
        "shown-sooner-and-met-again",
        "a check: it knew neither of the beat after which a node that misses most of the members shows an owner, nor"
        " that a forgotten owner is hidden by the very heartbeat that it returns with (14000023 of 5 nodes, 14000062"
        " of 7)",
        "the first heartbeat of the return counts, and the patience that this node has",
        file="tests/simulation/test_moved_in_a_minority.py",
        test="test_an_owner_whose_records_come_late_to_a_node_alone_is_shown_before_them",
    ),
    Exhibit(
        "killed-while-its-node-stood-still",
        "a check: a client was killed while the node that served it stood still, and an older owner, which had stood"
        " still for longer, showed what it knew before that node could say so (15000033 of 7 nodes)",
        "nobody can know of it before that node has settled",
        file="tests/simulation/test_history_checks.py",
        test="test_who_was_killed_while_its_node_stood_still_may_come_back_with_an_older_owner_until_that_node_has_settled",
    ),
    Exhibit(
        "loaded-from-one-that-ended",
        "a check: a node loaded from the only ready one, which ended before it was ready; it let go of a client that"
        " was not served in time, and was to know nothing like a node that starts cold (18000001 of 5 nodes)",
        "cold is who has met nobody that was ready since it started",
        file="tests/swarm/test_checks.py",
        test="test_a_node_that_has_loaded_from_one_that_ended_before_it_was_ready_knows_who_is_gone",
    ),
    Exhibit(
        "listed-before-who-lives-there",
        "a check: two clients published one instance, the later one died with its node, and a node that stood still at"
        " that moment listed it for a lease yet, as it may, where the others listed the one that lives (18000046 of 7"
        " nodes)",
        "who lists the dead within the time of A3 does not differ from those who list who lives",
        file="tests/swarm/test_checks.py",
        test="test_a_node_that_stood_still_lists_whom_it_has_yet_to_give_up_where_the_others_list_who_lives_there",
    ),
    Exhibit(
        "guarded-until-it-was-dropped",
        "a check: who was listed again after a cut was listed for as long as its guard lasts, and the check asked the"
        " list without it whether it is guarded (23000041 of 7 nodes)",
        "how long a list may show somebody is judged by the last one that does",
        file="tests/swarm/test_checks.py",
        test="test_what_is_listed_again_after_a_cut_goes_when_its_owner_is_given_up_or_its_guard_ends",
    ),
    Exhibit(
        "many-exchanges-at-two-seconds",
        "a check: a node looked at each message 2 s late; a withdrawal stood behind 70 other changes of its owner in"
        " the 12th small chunk: four exchanges, where the check gave time for one (13000062 of 3 nodes)",
        "each step of a transfer on a slow path has the time of an exchange, and what comes a second time is none",
        file="tests/simulation/test_history_checks.py",
        test="test_what_was_withdrawn_may_be_listed_on_slow_paths_while_what_stands_before_it_comes_step_by_step",
    ),
    Exhibit(
        "passed-on-at-two-seconds",
        "a check: the one node between two others looked at each message 0.4 s late (patiences divided by five), and 62"
        " changes of the owner went ahead: a live instance came after 2.9 s and seven steps, where the check gave 2 s"
        " (31000004 of 3 nodes)",
        "each step of a transfer on a slow path has the time of an exchange, also to a node that passes it on; all is"
        " there when the watermark says so, as the chunks of a full range are in no order",
        file="tests/simulation/test_history_checks.py",
        test="test_an_instance_on_its_way_by_slow_paths_and_a_node_between_has_the_time_of_an_exchange_for_each_step",
    ),
    Exhibit(
        "moved-five-times-meanwhile",
        "a check: a client withdrew, all nodes that knew restarted, and an older owner that had stood still showed it"
        " for the moment that it may; but the client had moved so often that the check had forgotten this owner"
        " (21000035 of 7 nodes)",
        "sessions at owners that cannot have heard of a newer one are kept in mind",
        file="tests/simulation/test_history_checks.py",
        test="test_what_was_withdrawn_where_nobody_remembers_it_may_stay_for_the_grace_of_an_older_owner_that_stood_still",
    ),
    Exhibit(
        "removed-a-beat-late",
        "a node that had been alone kept what a moved client had left until the beat after it ceased to preserve, and"
        " was equal with the others too late (14000029 of 3 nodes)",
        "it goes when the preservation ends; docs/adr/0007",
        file="tests/actors/test_lingering.py",
        test="test_a_node_that_preserves_keeps_it_beyond_its_grace_and_removes_it_when_that_ends",
    ),
    Exhibit(
        "asked-in-its-next-life",
        "a check: two nodes ended at one moment, and the one was asked, while it loaded in its next life, to keep what"
        " the other had served, because it had known that well in its last (12000081 of 3 nodes, 11000155 of 7)",
        "asked is who was ready then and has run since",
        file="tests/swarm/test_checks.py",
        test="test_a_node_that_ended_with_the_other_one_loads_what_it_knew_and_may_list_it_in_between",
    ),
    Exhibit(
        "slow-taken-for-asleep",
        "a node whose every beat came late settled for ever, proved no life and was taken for dead",
        "a second gap while it settles is no stall (0cb8e7d)",
        file="tests/actors/test_slow_beats.py",
        test="test_a_node_whose_every_beat_is_two_seconds_late_proves_life_every_third_time",
    ),
    Exhibit(
        "cold-start-beside-a-ready-node",
        "a loading node started cold when the only ready one fell silent, and answered without what that one knew",
        "who was ready counts as not loading, though out of hearing (4f98139)",
        file="tests/simulation/test_message_failures.py",
        test="test_d21_a_node_does_not_start_cold_because_the_only_ready_one_falls_silent",
    ),
    Exhibit(
        "slower-than-a-delta",
        "on a path that answered within the pong time-out, but after the patience with a delta, both sides began every"
        " delta of more than a few chunks anew for ever, and the link was given up and taken back between two pongs",
        "a proof lasts one beat longer, a delta has more patience than a link, and a source is not asked again for what"
        " it is sending; docs/adr/0007",
        file="tests/simulation/test_large_transfers.py",
        test="test_a_path_that_answers_just_within_the_pong_time_out_carries_a_large_change_and_carries_it_once",
    ),
    Exhibit(
        "redo-at-the-limit",
        "a client at its limit of publications could not redo what its older session had published at the same node",
        "what an older session published is none more (4f98139)",
        file="tests/simulation/test_message_failures.py",
        test="test_a_client_at_its_limit_can_redo_what_its_older_session_published_at_the_same_node",
    ),
    Exhibit(
        "confirmed-by-a-digest",
        "a digest said from the record table what had yet to be indexed, and a caller that waited for the cluster was"
        " told that everybody had it a moment before a node listed it",
        "what a digest counts passes the index; what is said with a rejected delta or a pull is not above that",
        file="tests/actors/test_replication_chain.py",
        test="test_a_caller_that_waits_for_the_cluster_is_told_when_the_slowest_index_has_it_and_no_digest_says_so_sooner",
    ),
    Exhibit(
        "stamps-at-the-end-of-time",
        "one stamp near 2^64 was followed by every clock, and no node could make a greater one",
        "numbers that nobody could follow are refused (d77cf5f)",
        file="tests/actors/test_forged_frames.py",
        test="test_after_the_highest_stamp_there_is_a_next_one_that_others_take",
    ),
)
