use super::{LONGEST, Rounds};
use crate::loop_guard::rule::Rule;

/// The shortest round of which more than `most` have begun at the end of `prints`, by looking at all of them.
fn naive(prints: &[u64], most: usize) -> Option<usize> {
    let is_round = |period: usize| {
        let matched = prints.iter().rev().zip(prints.iter().rev().skip(period)).take_while(|(a, b)| a == b).count();
        matched > period * (most - 1)
    };
    let once = prints.iter().rev().zip(prints.iter().rev().skip(1)).take_while(|(a, b)| a == b).count();
    (2..=LONGEST).find(|period| is_round(*period) && once < *period)
}

proptest::proptest! {
    #[test]
    fn the_first_round_is_found_where_a_naive_search_finds_it(
        start in proptest::collection::vec(0_u64..4, 0..20),
        round in proptest::collection::vec(0_u64..3, 2..13),
    ) {
        let prints: Vec<u64> = start.into_iter().chain(round.iter().copied().cycle().take(round.len() * 5)).collect();
        let mut rounds = Rounds::default();
        for (at, print) in prints.iter().enumerate() {
            let found = rounds.push(*print, 3).map(|rule| match rule {
                Rule::Cycle { period, .. } => period as usize,
                other => panic!("{other:?}"),
            });
            proptest::prop_assert_eq!(found, naive(&prints[..=at], 3));
            if found.is_some() {
                break;
            }
        }
    }
}
