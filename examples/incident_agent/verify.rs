//! Whether it helped: nobody's word is taken for it but the component's.

use std::time::Duration;

use crate::detect::symptom;
use crate::incident::Symptom;
use crate::services::Services;

/// So many good answers in a row are enough, and so many bad ones.
const GOOD: u32 = 3;
const BAD: u32 = 4;

/// Between two of them, in which a restart may still be going on.
const PAUSE: Duration = Duration::from_millis(60);

/// What is now well and now not is not well: looked at so often at most.
const LOOKS: u32 = 10;

/// Whether these replicas are well, and stay so for a moment.
pub(crate) async fn is_well(services: &Services, component: &str, replicas: &[usize]) -> bool {
    let (mut good, mut bad) = (0, 0);
    for _ in 0..LOOKS {
        let mut well = true;
        for replica in replicas {
            well &= symptom(&services.look(component, Some(*replica)).await) == Symptom::Well;
        }
        (good, bad) = if well { (good + 1, 0) } else { (0, bad + 1) };
        if good == GOOD || bad == BAD {
            return well;
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}
