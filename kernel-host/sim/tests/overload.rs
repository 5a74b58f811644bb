//! The injector of VMPlaceS, small: the sizes that are promised run with `cargo sim place --check`.

use sim::overload::command::shortfalls;
use sim::overload::{Figures, Scheduler, Setting, run};

fn figures(scheduler: Scheduler) -> Figures {
    let setting = Setting {
        seed: 1,
        nodes: 128,
        end_ms: 15 * 60_000,
        line_bytes_ms: 125_000,
        scheduler,
    };
    run(setting, &mut |_| ())
}

#[test]
fn neighbours_solve_overloads_within_what_is_promised_and_before_a_central_pass() {
    let (ours, central) = (figures(Scheduler::Ours), figures(Scheduler::Central));
    assert!(ours.violations >= 20 && ours.decisions >= 10, "{ours:?}");
    let all = [ours, central];
    assert_eq!(shortfalls(&all), Vec::<String>::new(), "{all:?}");
    assert!(
        all[0].violation_mean_ms * 3 < all[1].violation_mean_ms * 2,
        "{all:?}"
    );
    assert!(all[0].violations < all[1].violations, "{all:?}");
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let twice = [figures(Scheduler::Ours), figures(Scheduler::Ours)];
    assert_eq!(format!("{:?}", twice[0]), format!("{:?}", twice[1]));
}
