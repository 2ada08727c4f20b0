//! The property, and what is done at the end of each history.

use proptest::prelude::*;

use crate::acts::{Back, act, config, judged};
use crate::world::World;

proptest! {
    #[test]
    fn whatever_happens_nothing_is_kept(
        config in config(),
        prompt in any::<bool>(),
        readies in any::<bool>(),
        acts in prop::collection::vec(act(), 0..150),
        judged in prop::collection::vec(judged(), 1..5),
    ) {
        let mut world = World::new(config, prompt, readies);
        for act in acts {
            world.run(act);
        }
        world.finish(&Back::Settle(judged[0]), &judged);
        world.check_nothing_is_kept();
    }
}
