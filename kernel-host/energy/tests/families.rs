//! The families of bugs that other meters had in public, and the tests that hold them off here.
//!
//! A test that is renamed or removed is missed here.
#![allow(clippy::unwrap_used)]

/// Family, in a few words, and `file: test` of each test against it; files lie in `tests/`, or in
/// the folder that they name.
#[rustfmt::skip] // keeps the columns
const FAMILIES: &[(u32, &str, &[&str])] = &[
    ( 1, "a range that can't be read", &[
        "rapl: a_counter_without_a_range_is_a_gap_and_never_negative"]),
    ( 2, "one zone wraps, another's range is added", &["rapl: zones_wrap_alone_and_together"]),
    ( 3, "a small range at high power", &[
        "rapl: a_day_at_280_watts_with_a_small_range_is_counted_exactly"]),
    ( 4, "several wraps between looks", &[
        "rapl: a_stall_of_twenty_minutes_is_a_gap_of_its_length",
        "ledger: a_gap_is_filled_by_the_model_with_its_wide_bar"]),
    ( 5, "resets, first ticks, clocks that go back", &[
        "rapl: a_reset_at_any_sample_costs_one_gap_and_no_panic",
        "rapl: a_clock_that_goes_back_gives_no_energy"]),
    ( 6, "zones that contain each other are added, twins are", &[
        "rapl: psys_and_twins_are_told_apart_by_name", "rapl: the_mapped_twin_is_not_added",
        "fusion: the_best_source_is_taken_and_says_why"]),
    ( 7, "mirrored dies", &[
        "rapl: mirrored_dies_count_once_and_real_ones_twice",
        "rapl: two_sockets_with_equal_counters_stay_two"]),
    ( 8, "the folder's number taken for the package's", &[
        "rapl: psys_and_twins_are_told_apart_by_name"]),
    ( 9, "memory inside the package, memory's unit", &[
        "rapl: memory_is_read_beside_its_package_with_its_own_unit",
        "fusion: the_best_source_is_taken_and_says_why"]),
    (10, "no zones at all", &[
        "rapl: an_empty_or_locked_tree_is_a_reason_and_not_zero",
        "ledger: a_gap_is_filled_by_the_model_with_its_wide_bar"]),
    (11, "power taken for energy", &["rapl: energy_over_time_is_power"]),
    (12, "torn reads", &["rapl: a_torn_read_is_a_gap_and_no_spike"]),
    (13, "the sum of all is more than the host", &["ledger: the_sum_holds_while_threads_churn"]),
    (14, "idle vanishes under load, or is charged to each VM", &[
        "src/ledger/idle: load_from_nothing_to_full_and_back_leaves_the_edge_where_it_is",
        "ledger: ten_idle_vms_pay_for_one_idle_machine"]),
    (15, "threads that end between looks, numbers given again", &[
        "ledger: last_slices_are_charged_once"]),
    (16, "unplugged processors, locked files", &[
        "rapl: an_unplugged_package_leaves_the_others_counting",
        "rapl: an_empty_or_locked_tree_is_a_reason_and_not_zero"]),
    (17, "a BMC that does not measure says 0 W", &[
        "servers: a_bmc_that_does_not_measure_is_absent_and_not_zero"]),
    (18, "Redfish without a value, and one that hangs", &[
        "servers: bmcs_of_all_makers_tell_their_power_or_none",
        "servers: a_bmc_that_hangs_delays_nobody"]),
    (19, "all ones, and a kernel log full of complaints", &[
        "rapl: a_sensor_without_a_value_is_none_and_is_left_alone"]),
    (20, "power strips ten times too high", &[
        "servers: strips_are_read_in_their_makers_units",
        "fusion: a_wall_meter_with_a_wrong_scale_is_not_believed"]),
    (21, "inverters at dusk, moved maps, batteries taken for the sun", &[
        "servers: inverters_tell_the_sun_and_not_the_battery",
        "servers: a_map_that_moves_is_walked_again",
        "green: what_cannot_be_is_refused_and_counted"]),
    (22, "clocks of other zones", &["green: what_cannot_be_is_refused_and_counted"]),
    (23, "feeds that are empty, end early or stand still", &[
        "servers: a_feed_is_fetched_and_an_empty_one_is_a_fault",
        "green: a_sun_that_stands_still_is_no_sun",
        "green: a_silent_feed_fades_to_the_night_and_its_bar_stays_wide",
        "green: a_grid_without_carbon_is_a_feed_without_a_value"]),
    (24, "a flood of series", &[
        "../node/src/service/energy/metrics: series_grow_with_accounts_and_end_with_them"]),
];

#[test]
fn each_family_has_tests_that_exist() {
    for (number, what, tests) in FAMILIES {
        assert!(!tests.is_empty(), "family {number} ({what})");
        for test in *tests {
            let (file, name) = test.split_once(": ").unwrap();
            let folder = if file.contains('/') { "" } else { "tests/" };
            let path = format!("{}/{folder}{file}.rs", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{path}"));
            let there = text.contains(&format!("fn {name}()"));
            assert!(there, "family {number} ({what}): {path} has no test {name}");
        }
    }
}
