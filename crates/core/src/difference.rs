//! What differs between two configurations, field by field.

use crate::policy::Config;
use crate::{breaker, budget, bulkhead, hedge, latency, rate, retry, throttle};

macro_rules! differences {
    ($($config:ty { $($field:ident),* $(,)? })*) => {$(
        impl $config {
            /// The fields in which `given` differs, as text: `open_duration is 60s, given 30s`.
            pub fn differences(&self, given: &Self) -> Vec<String> {
                // Without `..`: the compiler asks for a new field.
                let Self { $($field),* } = self;
                let fields = [$((stringify!($field), format!("{:?}", $field), format!("{:?}", given.$field))),*];
                let differing = fields.into_iter().filter(|(_, is, given)| is != given);
                differing.map(|(field, is, given)| format!("{field} is {is}, given {given}")).collect()
            }
        }
    )*};
}

differences! {
    breaker::Config {
        trip, open_duration, open_factor, max_open_duration, open_jitter, success_threshold, half_open_max_calls,
        half_open_timeout, ignore, scope, mode,
    }
    bulkhead::Config { max_concurrent, max_queue, queue_timeout, adaptive }
    rate::Config { rate, per, burst, max_wait }
    retry::Config { max_retries, backoff, retry_on, never_on, retry_after_cap, max_retry_after, wait_for_half_open }
    hedge::Config { delay, max_hedges }
    budget::Config { ratio, floor, window }
    latency::Config { window }
    throttle::Config { multiplier, min_requests, max_refused, window, overload }
}

impl Config {
    /// The settings in which `given` differs, as text: `breaker.open_duration is 60s, given 30s`. Of a stage that only
    /// one of them has, the name of the stage alone.
    pub fn differences(&self, given: &Self) -> Vec<String> {
        let Self {
            deadline,
            attempt_timeout,
            priority,
            retry,
            hedge,
            budget,
            throttle,
            breaker,
            bulkhead,
            rate,
            tokens,
            latency,
        } = self;
        let limits =
            [("deadline", *deadline, given.deadline), ("attempt_timeout", *attempt_timeout, given.attempt_timeout)];
        let differing = limits.into_iter().filter(|(_, is, given)| is != given);
        let mut found: Vec<String> =
            differing.map(|(field, is, given)| format!("{field} is {is:?}, given {given:?}")).collect();
        if *priority != given.priority {
            found.push(format!("priority is {priority:?}, given {:?}", given.priority));
        }
        found.extend(of_stage("retry", retry.as_ref(), given.retry.as_ref(), retry::Config::differences));
        found.extend(of_stage("hedge", hedge.as_ref(), given.hedge.as_ref(), hedge::Config::differences));
        found.extend(of_stage("budget", budget.as_ref(), given.budget.as_ref(), budget::Config::differences));
        found.extend(of_stage("throttle", throttle.as_ref(), given.throttle.as_ref(), throttle::Config::differences));
        found.extend(of_stage("breaker", breaker.as_ref(), given.breaker.as_ref(), breaker::Config::differences));
        found.extend(of_stage("bulkhead", bulkhead.as_ref(), given.bulkhead.as_ref(), bulkhead::Config::differences));
        found.extend(of_stage("rate", rate.as_ref(), given.rate.as_ref(), rate::Config::differences));
        found.extend(of_stage("tokens", tokens.as_ref(), given.tokens.as_ref(), rate::Config::differences));
        found.extend(of_stage("latency", latency.as_ref(), given.latency.as_ref(), latency::Config::differences));
        found
    }
}

fn of_stage<C>(stage: &str, is: Option<&C>, given: Option<&C>, of: impl Fn(&C, &C) -> Vec<String>) -> Vec<String> {
    match (is, given) {
        (Some(is), Some(given)) => of(is, given).into_iter().map(|text| format!("{stage}.{text}")).collect(),
        (Some(_), None) => vec![format!("{stage} is set, given none")],
        (None, Some(_)) => vec![format!("{stage} is none, given one")],
        (None, None) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{Trip, breaker, policy};

    #[test]
    fn each_field_that_differs_is_named_with_both_values() {
        let with = |breaker| policy::Config { breaker, ..Default::default() };
        let (a, mut b) = (breaker::Config::default(), breaker::Config::default());
        assert!(with(Some(a.clone())).differences(&with(Some(b.clone()))).is_empty());
        b.trip = vec![Trip::consecutive(3)];
        b.half_open_timeout = Some(Duration::from_secs(5));
        let expected = [
            "breaker.trip is [Consecutive(5)], given [Consecutive(3)]",
            "breaker.half_open_timeout is None, given Some(5s)",
        ];
        assert_eq!(with(Some(a.clone())).differences(&with(Some(b))), expected);
        assert_eq!(with(Some(a.clone())).differences(&with(None)), ["breaker is set, given none"]);
        assert_eq!(with(None).differences(&with(Some(a))), ["breaker is none, given one"]);
    }
}
