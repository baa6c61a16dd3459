//! The specification of the store: cases that every backend passes, each a sentence.
//!
//! A backend's test target writes one test a case with [`store_cases!`](crate::store_cases).

/// What a case works with: an open store, a clock, identifiers, two tenants.
pub mod fixture;

/// Accepting events, duplicates included.
pub mod accept;

/// Claims and their fences.
pub mod claim;

/// Settles: outcomes, fences, what goes with them.
pub mod settle;

/// Order among deliveries with one ordering key.
pub mod order;

/// Key-value rows and intents.
pub mod kv;

/// Schedules and polls.
pub mod polls;

/// Lanes and their heads.
pub mod lanes;

/// Lost workers, expiry, pruning.
pub mod upkeep;

/// Parked, rejected and raw requests.
pub mod intake;

/// Tenants, plugins, installations, connections, endpoints, keys.
pub mod registry;

/// Apps, logins and tokens.
pub mod logins;

/// Consents, plans, and what was carried out.
pub mod policy;

/// Shadow runs and upgrades.
pub mod shadow;

/// Lists, replay, discard, retry, cancel.
pub mod records;

/// What persons ask for.
pub mod privacy;

/// What one tenant can see of another.
pub mod isolation;

/// What outlives the process.
pub mod reopen;

/// What admins do through two nodes of one database.
pub mod admins;

pub use fixture::{Backend, Fixture};

/// Hands the list of all cases, as `module::name`, to the macro `$run`.
#[macro_export]
macro_rules! store_cases {
    ($run:ident) => {
        $run! {
            accept::a_new_event_is_stored_with_its_delivery,
            accept::a_second_event_with_the_same_dedupe_key_is_a_duplicate,
            accept::a_thousand_parallel_duplicates_make_one_event,
            accept::duplicates_within_one_accept_are_found,
            accept::a_reused_id_with_other_data_is_told_apart_from_a_repeat,
            accept::the_same_key_from_another_source_is_another_event,
            accept::the_same_key_of_another_tenant_is_another_event,
            accept::a_duplicate_does_not_stop_the_other_events_of_its_accept,
            accept::an_event_of_an_unknown_tenant_is_not_found_and_stores_nothing,
            accept::one_bad_accept_does_not_fail_its_neighbours,
            accept::a_dead_start_is_visible_as_a_dead_letter,
            accept::what_tells_of_a_dead_start_is_stored_with_it_and_not_with_a_duplicate,
            accept::a_claimed_start_runs_at_epoch_one,
            accept::an_event_comes_back_as_it_was_given,
            accept::a_payload_with_an_escaped_nul_comes_back_as_it_was_given,
            accept::a_delivery_is_due_by_the_queues_clock_if_the_wall_clock_is_ahead,
            accept::a_raw_request_is_kept_only_with_a_new_event,
            claim::a_claim_counts_the_attempt_and_brings_the_event,
            claim::a_claim_with_an_old_epoch_gets_nothing,
            claim::of_two_claimers_one_wins,
            claim::many_claimers_of_one_lane_never_share_a_delivery,
            settle::a_delivered_settle_ends_the_delivery_and_records_the_attempt,
            settle::a_late_settle_lost_its_lease_and_writes_nothing,
            settle::a_settle_under_a_newer_epoch_does_not_pass,
            settle::of_two_settles_one_wins,
            settle::a_burnt_try_counts_and_a_given_back_one_does_not,
            settle::a_released_delivery_is_queued_without_a_burnt_try,
            settle::a_dead_delivery_has_reason_and_fingerprint,
            settle::emitted_events_come_with_the_settle_or_not_at_all,
            settle::an_emitted_duplicate_does_not_undo_the_settle,
            settle::the_journal_is_put_kept_and_cleared,
            settle::effects_change_the_rows_of_their_targets,
            settle::a_failing_streak_begins_once_and_ends_with_a_success,
            settle::the_epoch_never_decreases,
            order::only_the_oldest_of_an_order_is_ready,
            order::a_delivered_head_lets_the_next_go,
            order::a_dead_head_lets_the_next_go,
            order::a_waiting_head_holds_the_order_back,
            order::a_cancelled_follower_lets_nobody_go,
            order::a_replayed_delivery_goes_behind_a_live_one,
            order::a_batch_of_replays_keeps_its_order,
            order::orders_do_not_block_each_other,
            kv::a_swap_wins_once_per_version,
            kv::a_delete_leaves_a_tombstone_whose_version_counts,
            kv::an_expired_value_is_absent,
            kv::a_lost_swap_writes_nothing_of_its_settle,
            kv::writes_of_one_caller_see_each_other,
            kv::keys_are_listed_by_prefix_in_byte_order,
            kv::any_byte_may_be_in_a_value,
            kv::bytes_are_counted_and_deleted_ones_are_not,
            kv::an_intent_is_durable_before_the_settle,
            kv::an_intent_without_the_lease_writes_nothing,
            kv::an_intent_that_lost_its_swap_writes_nothing,
            kv::parallel_swaps_of_one_key_have_one_winner,
            polls::a_new_schedule_is_due_at_once,
            polls::a_schedule_has_at_most_one_live_poll,
            polls::a_settled_poll_moves_cursor_and_due_time,
            polls::a_hint_makes_an_idle_schedule_due,
            polls::a_hint_during_a_poll_makes_it_due_after_it,
            polls::a_cancelled_poll_does_not_stop_its_schedule,
            polls::an_installation_that_is_off_polls_nothing,
            polls::missed_runs_are_counted_once_and_move_the_schedule,
            polls::other_times_make_a_schedule_due_by_them_and_the_same_leave_it,
            polls::schedules_are_listed_of_one_tenant,
            lanes::lanes_are_listed_with_their_first_due_time,
            lanes::lanes_are_listed_for_the_partitions_asked_for,
            lanes::a_lane_head_comes_in_the_order_of_start,
            lanes::emergencies_have_their_own_lane,
            lanes::running_and_ended_deliveries_are_in_no_lane,
            upkeep::a_lost_worker_burns_no_try_and_leaves_a_lost_attempt,
            upkeep::only_the_partitions_asked_for_are_rescued,
            upkeep::three_crashes_make_a_plugin_delivery_a_suspect,
            upkeep::an_endpoint_delivery_never_becomes_a_suspect,
            upkeep::a_suspect_that_died_alone_is_dead_and_told,
            upkeep::only_what_still_waits_as_it_was_seen_is_ended,
            upkeep::what_is_too_late_expires_and_lets_the_next_go,
            upkeep::a_held_lane_expires_seven_days_after_its_block,
            upkeep::pruning_keeps_events_with_live_deliveries,
            upkeep::pruning_takes_all_that_hangs_on_an_event,
            upkeep::a_dedupe_key_outlives_its_event_and_goes_with_its_window,
            intake::a_parked_request_comes_back_byte_for_byte,
            intake::a_second_try_of_a_parked_request_is_noted,
            intake::a_source_parks_at_most_a_thousand_requests,
            intake::a_source_parks_at_most_its_share_of_bytes,
            intake::an_accept_takes_its_parked_request_along,
            intake::a_source_keeps_its_newest_thousand_rejections_and_counts_all,
            intake::what_came_to_an_app_is_kept_apart_and_goes_with_it,
            registry::a_tenant_is_made_changed_and_listed,
            registry::every_other_config_is_a_version_of_its_installation,
            registry::a_taken_name_is_a_conflict,
            registry::every_change_leaves_its_audit_row,
            registry::a_refused_change_leaves_no_audit_row,
            registry::a_published_version_never_changes,
            registry::a_needed_version_cannot_be_removed,
            registry::sources_keep_their_url_and_schedules_their_cursor,
            registry::putting_an_installation_takes_it_out_of_its_block,
            registry::a_removed_installation_cancels_its_deliveries,
            registry::a_used_connection_cannot_be_removed,
            registry::an_account_belongs_to_one_connection,
            registry::an_updated_connection_is_no_longer_in_need_of_a_login,
            registry::an_endpoint_comes_back_as_it_was_given,
            registry::api_keys_are_made_rotated_touched_and_removed,
            registry::the_first_answer_to_an_idempotency_key_stands_for_a_day,
            registry::facts_of_the_database_are_kept,
            logins::an_app_is_made_changed_and_removed_once_nobody_logs_in_through_it,
            logins::the_state_of_a_login_is_good_once_and_for_its_time,
            logins::of_two_refreshes_one_is_claimed_and_stored,
            logins::a_login_takes_a_connection_out_of_its_need_and_wins_over_a_refresh,
            logins::a_change_without_secrets_leaves_tokens_and_login_as_they_are,
            records::events_are_listed_newest_first_and_filtered,
            records::deliveries_are_filtered_by_every_field,
            records::dead_letters_are_grouped_by_fingerprint,
            records::a_replay_queues_the_same_row_again,
            records::a_journal_stored_after_a_replay_pins_the_version_again,
            records::a_replay_takes_delivered_ones_only_when_asked,
            records::a_replay_is_spread_and_bounded,
            records::a_replay_leaves_unrouted_commands_alone,
            records::an_unrouted_command_is_cancelled_when_it_has_a_handler,
            records::an_unrouted_command_without_a_handler_stays_dead,
            records::a_discarded_dead_letter_is_cancelled,
            records::a_waiting_delivery_can_be_made_due,
            records::a_cancelled_run_finds_its_lease_lost,
            records::deliveries_are_added_only_for_new_targets,
            records::counts_tell_what_is_not_over,
            policy::what_was_said_last_of_a_consent_stands_whatever_comes_late,
            policy::of_two_sayings_at_once_the_one_that_withdraws_stands,
            policy::a_duplicate_event_says_nothing,
            policy::an_admins_word_stands_against_all_that_was_said_before,
            policy::consents_are_listed_page_by_page_and_filtered,
            policy::of_each_person_the_newest_sayings_are_kept,
            policy::an_erased_person_stays_opted_out,
            policy::a_plan_is_given_replaced_and_taken_away,
            policy::a_plan_follows_what_is_told_of_its_customer,
            policy::a_command_counts_once_when_it_is_delivered_first,
            policy::parallel_reservations_never_pass_a_cap,
            policy::a_place_of_what_runs_no_more_is_free,
            policy::what_waits_by_the_policys_word_can_be_made_due,
            shadow::a_shadow_run_is_kept_counted_and_replaced,
            shadow::a_shadow_run_of_a_delivery_that_is_gone_is_not_kept,
            shadow::an_installation_keeps_its_newest_thousand_shadow_runs_and_counts_all,
            shadow::a_removed_installation_takes_its_shadow_runs_along,
            shadow::a_version_is_in_force_once_its_upgrade_succeeded,
            privacy::a_request_is_kept_and_each_of_its_steps_is_written_once,
            privacy::every_place_shows_its_rows_in_portions_and_none_of_another_tenant,
            privacy::an_emptied_event_keeps_its_ids_and_cancels_what_is_not_over,
            privacy::an_emptied_event_is_never_delivered_again,
            privacy::deliveries_requests_and_values_are_emptied_in_their_places,
            privacy::a_journal_that_is_in_use_is_not_emptied,
            privacy::parts_of_an_export_come_back_and_go,
            isolation::no_read_shows_another_tenants_rows,
            isolation::no_change_reaches_another_tenants_rows,
            isolation::a_settle_in_another_tenants_name_lost_its_lease,
            isolation::a_removed_tenant_leaves_nothing_and_others_stay,
            isolation::what_was_under_way_in_a_removed_tenant_writes_nothing,
            isolation::a_removed_tenants_name_is_free_again,
            reopen::everything_is_there_after_a_restart,
            reopen::a_running_delivery_is_still_running_after_a_restart,
        }
    };
}
