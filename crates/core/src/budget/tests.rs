//! Budget: behaviour of the stage alone.

use super::*;

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn budget(ratio: f64, floor: u32) -> RetryBudget {
    RetryBudget::new("test", Config { ratio, floor, ..Config::default() }).unwrap_or_else(|_| unreachable!())
}

#[test]
fn the_floor_is_there_without_calls_and_again_in_the_next_window() {
    let budget = budget(0.2, 3);
    let taken = |now| (0..9).filter(|_| budget.withdraw(now)).count();
    assert_eq!(taken(at(5)), 3);
    assert_eq!(taken(at(15)), 0);
    assert_eq!(taken(at(16)), 3);
    assert_eq!((budget.stats(at(16)).withdrawn, budget.stats(at(16)).denied), (6, 21));
}

#[test]
fn a_load_that_always_fails_is_amplified_by_the_ratio_and_the_floor() {
    let budget = budget(0.2, 3);
    let (mut calls, mut retries) = (0u32, 0u32);
    for second in 0..100 {
        for _ in 0..50 {
            budget.deposit(at(second));
            calls += 1;
            retries += (0..3).map(|_| u32::from(budget.withdraw(at(second)))).sum::<u32>();
        }
    }
    assert!(retries <= calls / 5 + 3 * 10, "{retries} retries of {calls} calls");
    assert!(retries >= calls / 5, "{retries} retries of {calls} calls");
}

#[test]
fn an_update_keeps_the_counts_of_a_window_that_stays() {
    let budget = budget(0.5, 0);
    (0..10).for_each(|_| budget.deposit(at(1)));
    assert!(budget.withdraw(at(1)));
    let config = Config { ratio: 1.0, ..budget.config() };
    assert_eq!(budget.update(config), Ok(()));
    assert_eq!(budget.remaining(at(1)), 9);
}

#[test]
fn another_window_begins_with_the_counts_of_the_former_one() {
    let budget = budget(0.5, 1);
    (0..10).for_each(|_| budget.deposit(at(15)));
    assert_eq!((0..20).filter(|_| budget.withdraw(at(15))).count(), 6);
    for window in [60, 10, 60, 10] {
        let window = Duration::from_secs(window);
        assert_eq!(budget.update(Config { window, ..budget.config() }), Ok(()));
        assert_eq!((budget.stats(at(15)).calls, budget.stats(at(15)).retries), (10, 6));
        assert!(!budget.withdraw(at(15)), "no second set of retries");
    }
    budget.deposit(at(15));
    budget.deposit(at(15));
    assert!(budget.withdraw(at(15)));
    assert_eq!((budget.stats(at(27)).calls, budget.remaining(at(27))), (0, 1));
}

#[test]
fn mistakes_are_named_and_extremes_are_bounded() {
    let wrong = Config { ratio: f64::NAN, floor: u32::MAX, window: Duration::ZERO };
    let fields: Vec<_> = wrong.validate().into_iter().map(|mistake| mistake.field).collect();
    assert_eq!(fields, ["ratio", "window"]);

    let most = Config { ratio: f64::MAX, floor: u32::MAX, window: Duration::MAX };
    let budget = RetryBudget::new("most", most).unwrap_or_else(|_| unreachable!());
    for now in [Instant::FAR_FUTURE, Instant::ZERO] {
        budget.deposit(now);
        assert!(budget.withdraw(now));
    }
    let shortest = Config { ratio: 0.0, floor: 0, window: Duration::from_nanos(1) };
    assert!(budget.update(shortest).is_ok());
    budget.deposit(Instant::FAR_FUTURE);
    assert!(!budget.withdraw(Instant::FAR_FUTURE));
}
