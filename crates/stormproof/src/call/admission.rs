//! What a call would take, without a call.

use std::convert::Infallible;

use stormproof_core::Caller;

use super::Cx;
use crate::call::error::Error;
use crate::call::held::Held;
use crate::policy::Policy;

impl Policy {
    /// Takes what a call would take and holds it, without calling: for something that ends later or elsewhere.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # use stormproof::{Policy, Verdict};
    /// # let policy = Policy::builder("tool").build().unwrap();
    /// let held = policy.admit().await.expect("nothing refuses");
    /// // … use what is protected …
    /// held.settle(&Verdict::success()); // dropping it instead counts neither way
    /// # }
    /// ```
    pub async fn admit(&self) -> Result<Held, Error<Infallible>> {
        self.admit_cost(1).await
    }

    /// [`admit`](Self::admit), reserving `tokens` instead of one.
    pub async fn admit_cost(&self, tokens: u32) -> Result<Held, Error<Infallible>> {
        let nothing = |_: Cx<'_>| std::future::ready(Ok(()));
        self.call(nothing).admission(tokens).hold().await.map(|((), held)| held)
    }

    /// [`admit`](Self::admit) for a call of a class or of a flow.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stormproof::{Caller, Flow, Policy, Priority};
    ///
    /// let policy = Policy::builder("gpu").build()?;
    /// let caller = Caller { priority: Some(Priority::Low), flow: Some(Flow::of("tenant-7")) };
    /// let held = policy.admit_as(caller).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn admit_as(&self, caller: Caller) -> Result<Held, Error<Infallible>> {
        let nothing = |_: Cx<'_>| std::future::ready(Ok(()));
        self.call(nothing).admission(1).caller(caller).hold().await.map(|((), held)| held)
    }

    /// [`admit`](Self::admit) without waiting: what is not there at once is refused.
    ///
    /// ```
    /// # use stormproof::{Policy, Reason, bulkhead};
    /// let slots = bulkhead::Config { max_concurrent: 1, ..Default::default() };
    /// let policy = Policy::builder("tool").bulkhead(slots).build().unwrap();
    /// let held = policy.try_admit().unwrap();
    /// assert_eq!(policy.try_admit().unwrap_err().refused().unwrap().reason, Reason::QueueFull);
    /// drop(held);
    /// assert!(policy.try_admit().is_ok());
    /// ```
    pub fn try_admit(&self) -> Result<Held, Error<Infallible>> {
        self.try_admit_cost(1)
    }

    /// [`try_admit`](Self::try_admit), reserving `tokens` instead of one.
    pub fn try_admit_cost(&self, tokens: u32) -> Result<Held, Error<Infallible>> {
        let once = self.once();
        let call = once.call_sync(|_| Ok(())).cost(tokens).hold();
        call.at_once().run().map(|((), held)| held)
    }
}
