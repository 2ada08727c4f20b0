//! Whether it helped: nobody's word is taken for it but the component's.

use std::time::Duration;

use crate::detect::symptom;
use crate::incident::Symptom;
use crate::services::Services;

/// So many good answers in a row are enough.
const GOOD: u32 = 3;

/// Between two of them, in which a restart may still be going on.
const PAUSE: Duration = Duration::from_millis(60);

/// Looked at so often at most.
const LOOKS: u32 = 8;

/// Whether these replicas are well, and stay so for a moment.
pub(crate) async fn is_well(services: &Services, component: &str, replicas: &[usize]) -> bool {
    let mut good = 0;
    for _ in 0..LOOKS {
        let mut well = true;
        for replica in replicas {
            well &= symptom(&services.look(component, Some(*replica)).await) == Symptom::Well;
        }
        good = if well { good + 1 } else { 0 };
        if good == GOOD {
            return true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}
